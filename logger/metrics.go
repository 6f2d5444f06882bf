package logger

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lines *prometheus.CounterVec
	// The lines of each kind, so that none looks for its counter.
	use, other, damaged prometheus.Counter
	touches, failed     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
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
	m.use, m.other, m.damaged = m.lines.WithLabelValues("use"), m.lines.WithLabelValues("other"), m.lines.WithLabelValues("damaged")
	return m
}

// register also registers the gaps, which the follower of the log counts.
func (m *metrics) register(reg prometheus.Registerer, gaps func() uint64) error {
	for _, c := range []prometheus.Collector{m.lines, m.touches, m.failed, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "registry_cache_logger_gaps_total",
		Help: "Times the place in the access log was lost, so that uses may have been missed.",
	}, func() float64 { return float64(gaps()) })} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("logger: %w", err)
		}
	}
	return nil
}
