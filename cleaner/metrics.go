package cleaner

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"registrycache/config"
	"registrycache/images"
)

// metrics are those of a cleaner that Runs; one that does not has none.
type metrics struct {
	bytes, limit, missing    prometheus.Gauge
	lastClean, cleanDuration prometheus.Gauge
	failures                 prometheus.Counter
	evicted, evictions       *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, store *images.Store) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "registry_cache_" + name, Help: help})
	}
	byReason := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "registry_cache_" + name, Help: help}, []string{"reason"})
	}
	m := &metrics{
		bytes:   gauge("store_bytes", "Disk space that blobs and fills took when the cleaner looked last."),
		limit:   gauge("store_limit_bytes", "Disk space that a clean goes down to."),
		missing: gauge("clean_missing_bytes", "How much more the last clean should have evicted, and could not."),
		lastClean: gauge("last_clean_timestamp_seconds",
			"When the cleaner last did what was due, or found that nothing was, since the epoch."),
		cleanDuration: gauge("last_clean_duration_seconds", "How long that took."),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_cache_clean_failures_total", Help: "Cleans that ended with an error.",
		}),
		evicted:   byReason("evicted_bytes_total", "Disk space of the blobs that were evicted."),
		evictions: byReason("evictions_total", "Blobs that were evicted."),
	}
	for _, why := range []Why{OverLimit, OverQuota, DiskShort, Unused} {
		m.evicted.WithLabelValues(string(why))
		m.evictions.WithLabelValues(string(why))
	}
	for _, c := range []prometheus.Collector{
		m.bytes, m.limit, m.missing, m.lastClean, m.cleanDuration, m.failures, m.evicted, m.evictions,
		newLastVerify(store),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("cleaner: %w", err)
		}
	}
	return m, nil
}

// evict counts a blob that went.
func (m *metrics) evict(bytes int64, why Why) {
	if m != nil {
		m.evicted.WithLabelValues(string(why)).Add(float64(bytes))
		m.evictions.WithLabelValues(string(why)).Inc()
	}
}

// looked shows what the last look found and did.
func (m *metrics) looked(set config.Cleaner, r Report, now time.Time) {
	m.bytes.Set(float64(r.After))
	m.limit.Set(float64(set.MaxSize))
	m.missing.Set(float64(r.Missing))
	m.lastClean.Set(seconds(now))
	m.cleanDuration.Set(r.Took.Seconds())
}
