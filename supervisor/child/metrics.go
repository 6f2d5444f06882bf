package child

import (
	"runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

// goMetrics are what the Go runtime can tell of itself in few bytes, under the
// names that Prometheus' client library has for it.
var goMetrics = []struct {
	sample string
	desc   *prometheus.Desc
	kind   prometheus.ValueType
}{
	{"/sched/goroutines:goroutines", goDesc("go_goroutines", "Number of goroutines that currently exist."), prometheus.GaugeValue},
	{"/sched/threads/total:threads", goDesc("go_threads", "Number of OS threads that the Go runtime owns."), prometheus.GaugeValue},
	{"/gc/cycles/total:gc-cycles", goDesc("go_gc_cycles_total_gc_cycles_total", "Count of all completed GC cycles."), prometheus.CounterValue},
	{"/gc/heap/allocs:bytes", goDesc("go_gc_heap_allocs_bytes_total", "Cumulative sum of memory allocated to the heap."), prometheus.CounterValue},
	{"/memory/classes/heap/objects:bytes", goDesc("go_memory_classes_heap_objects_bytes", "Memory occupied by live objects and dead objects that have not yet been freed."), prometheus.GaugeValue},
	{"/memory/classes/total:bytes", goDesc("go_memory_classes_total_bytes", "All memory mapped by the Go runtime, what is free or not yet used included."), prometheus.GaugeValue},
}

func goDesc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

// GoMetrics are the metrics of the Go runtime of this process. The client
// library's own collector has ten times as many, and a scrape of each process
// would leave behind as many times the memory for nobody to look at: who needs
// them takes a profile.
func GoMetrics() prometheus.Collector { return goCollector{} }

type goCollector struct{}

func (goCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range goMetrics {
		ch <- m.desc
	}
}

func (goCollector) Collect(ch chan<- prometheus.Metric) {
	samples := make([]metrics.Sample, len(goMetrics))
	for i, m := range goMetrics {
		samples[i].Name = m.sample
	}
	metrics.Read(samples)
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 { // else this Go has another name for it
			ch <- prometheus.MustNewConstMetric(goMetrics[i].desc, goMetrics[i].kind, float64(s.Value.Uint64()))
		}
	}
}
