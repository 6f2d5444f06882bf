package pullthrough

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of one upstream.
type metrics struct {
	checks  *prometheus.CounterVec // by result
	failing prometheus.Gauge
	open    prometheus.Gauge
}

// Results of a tag check, the values of the label result.
const (
	resultUnchanged = "unchanged"
	resultChanged   = "changed"
	resultNotFound  = "not_found"
	resultFailed    = "failed"
)

func newMetrics(reg prometheus.Registerer, upstream string) (*metrics, error) {
	label := prometheus.Labels{"upstream": upstream}
	m := &metrics{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_tag_checks_total", ConstLabels: label,
			Help: "Tags checked with the upstream, by result.",
		}, []string{"result"}),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registry_cache_upstream_failing", ConstLabels: label,
			Help: "1 from the first failed tag check until the upstream answers again.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registry_cache_upstream_circuit_open", ConstLabels: label,
			Help: "1 while known tags are served without asking the upstream, because it fails.",
		}),
	}
	for _, c := range []prometheus.Collector{m.checks, m.failing, m.open} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
