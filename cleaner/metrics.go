package cleaner

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	bytes     prometheus.Gauge
	evicted   prometheus.Counter
	evictions prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registry_cache_store_bytes",
			Help: "Disk space that blobs and fills took when the cleaner looked last.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_cache_evicted_bytes_total",
			Help: "Disk space of the blobs that were evicted.",
		}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_cache_evictions_total",
			Help: "Blobs that were evicted.",
		}),
	}
	for _, c := range []prometheus.Collector{m.bytes, m.evicted, m.evictions} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("cleaner: %w", err)
		}
	}
	return m, nil
}
