package logger

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	lines   *prometheus.CounterVec
	touches prometheus.Counter
	failed  prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		lines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_logger_lines_total",
			Help: "Lines of the access log that were read: a use of something cached, another request, or damaged.",
		}, []string{"kind"}),
		touches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_cache_logger_touches_total",
			Help: "Blobs whose use was recorded.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_cache_logger_touch_failures_total",
			Help: "Blobs whose use could not be recorded.",
		}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.lines, m.touches, m.failed}
}
