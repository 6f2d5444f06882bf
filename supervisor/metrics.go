package supervisor

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"registrycache/supervisor/child"
)

// scrapeTimeout bounds the wait for one process, well within the 10 s that
// Prometheus waits by default.
const scrapeTimeout = 3 * time.Second

// merged gathers the metrics of all processes, this one included, as one set.
type merged struct {
	list   func() []*process
	own    *prometheus.Registry
	failed *prometheus.CounterVec
}

func newMerged(list func() []*process) *merged {
	m := &merged{
		list: list,
		own:  prometheus.NewRegistry(),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_process_scrape_failures_total",
			Help: "How often the metrics of the process could not be read; they are missing then.",
		}, []string{"process"}),
	}
	m.own.MustRegister(
		child.GoMetrics(),
		processMetrics{list: list, began: time.Now()},
		m.failed,
	)
	return m
}

// Gather implements prometheus.Gatherer. A process that doesn't answer is left
// out and counted.
func (m *merged) Gather() ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	processes := m.list()
	sources := make(prometheus.Gatherers, len(processes)+1)
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() {
			families, err := p.gather(ctx)
			if err != nil {
				m.failed.WithLabelValues(p.name).Inc()
			}
			sources[i] = already(families, p.name)
		})
	}
	asked.Wait()
	own, err := m.own.Gather() // after the others, to count their failures
	if err != nil {
		return nil, err
	}
	sources[len(processes)] = already(own, supervisorName)
	return sources.Gather()
}

// already is a Gatherer of families that the process called name has given.
func already(families []*dto.MetricFamily, name string) prometheus.Gatherer {
	for _, f := range families {
		// Every process has metrics of its runtime.
		if strings.HasPrefix(f.GetName(), "go_") {
			for _, m := range f.GetMetric() {
				label(m, name)
			}
		}
	}
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
}

// label says in m which process it is from. Labels are sorted by name.
func label(m *dto.Metric, process string) {
	m.Label = append(m.Label, &dto.LabelPair{Name: proto.String("process"), Value: proto.String(process)})
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
}
