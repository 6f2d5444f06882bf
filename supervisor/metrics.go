package supervisor

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// scrapeTimeout bounds the wait for one process, well within the 10 s that
// Prometheus waits by default.
const scrapeTimeout = 3 * time.Second

var (
	upDesc = prometheus.NewDesc("registry_cache_process_up",
		"Whether the process does its work (1) or is starting, pausing before a restart, or draining (0).",
		[]string{"process"}, nil)
	restartsDesc = prometheus.NewDesc("registry_cache_process_restarts_total",
		"How often the process ended by itself and was started again.",
		[]string{"process"}, nil)
)

// processMetrics are the metrics about the processes of list.
type processMetrics struct{ list func() []*process }

func (processMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- upDesc
	ch <- restartsDesc
}

func (m processMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, p := range m.list() {
		status, up := p.report(), 0.0
		if status.State == Ready {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up, status.Name)
		ch <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(status.Restarts), status.Name)
	}
}

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
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		processMetrics{list},
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
	sources[len(processes)] = already(own, "supervisor")
	return sources.Gather()
}

// already is a Gatherer of families that the process called name has given.
func already(families []*dto.MetricFamily, name string) prometheus.Gatherer {
	for _, f := range families {
		if isRuntime(f.GetName()) {
			for _, m := range f.GetMetric() {
				label(m, name)
			}
		}
	}
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
}

// isRuntime says whether every process has metrics of that name.
func isRuntime(name string) bool {
	return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
}

// label says in m which process it is from. Labels are sorted by name.
func label(m *dto.Metric, process string) {
	m.Label = append(m.Label, &dto.LabelPair{Name: proto.String("process"), Value: proto.String(process)})
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
}
