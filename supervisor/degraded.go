package supervisor

import (
	"context"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// metricDegraded is 1 in a process that can't write to the store; its label
// reason says why.
const metricDegraded = "registry_cache_store_degraded"

// degradedTimeout bounds the wait for one process. One that is slow to answer
// is not for this to report.
const degradedTimeout = time.Second

// degradedStores asks every process whether it can write to the store, and
// returns what those say that can't.
func degradedStores(ctx context.Context, processes []*process) []string {
	ctx, cancel := context.WithTimeout(ctx, degradedTimeout)
	defer cancel()
	said := make([][]string, len(processes))
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() {
			families, err := p.gather(ctx)
			if err != nil {
				return // its state is shown beside
			}
			for _, reason := range reasons(families) {
				said[i] = append(said[i], p.name+": the store is not written: "+reason)
			}
		})
	}
	asked.Wait()
	var all []string
	for _, s := range said {
		all = append(all, s...)
	}
	return all
}

// reasons are those of the metricDegraded that are set.
func reasons(families []*dto.MetricFamily) []string {
	var found []string
	for _, f := range families {
		if f.GetName() != metricDegraded {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetGauge().GetValue() == 0 {
				continue
			}
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" {
					found = append(found, l.GetValue())
				}
			}
		}
	}
	return found
}
