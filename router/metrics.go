package router

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"registrycache/config"
	"registrycache/logger/accesslog"
)

// metrics count answers. No label takes a value from a client: upstreams are
// the configured ones, the rest are small fixed sets.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	sent     *prometheus.CounterVec
	saved    *prometheus.CounterVec

	mu sync.RWMutex
	// names are those of upstreams by the Path of their route, by which records
	// know them: it can't have the colon of a port.
	names map[string]string
	// counters has those that were needed, found faster than by their labels.
	counters map[counted]counters
}

// counted is what makes a counter another one.
type counted struct {
	path, kind string
	cache      accesslog.CacheStatus
	status     int
}

type counters struct {
	requests, sent prometheus.Counter
	// duration is nil for what is not about an image: a ping, a refusal, the
	// page, whose stream goes on as long as somebody looks at it.
	duration prometheus.Observer
	// saved is nil where the upstream was asked for the bytes.
	saved prometheus.Counter
}

// durations are the bounds of the buckets, in seconds: a hit takes well under a
// millisecond, a large layer minutes.
var durations = []float64{1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		names:    make(map[string]string),
		counters: make(map[counted]counters),
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_requests_total",
			Help: "Requests of clients, by upstream, what was asked for, how the cache answered, and status code (499: the client left before an answer).",
		}, []string{"upstream", "kind", "cache_status", "code"}),
		duration: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "registry_cache_request_duration_seconds",
			Help:    "Time from a client's request to the end of the answer, by what was asked for and how the cache answered.",
			Buckets: durations,
		}, []string{"kind", "cache_status"}),
		sent: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_sent_bytes_total",
			Help: "Bytes of bodies sent to clients.",
		}, []string{"upstream", "cache_status"}),
		saved: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_saved_bytes_total",
			Help: "Bytes of bodies sent to clients that the upstream was not asked for, as they were here or on their way.",
		}, []string{"upstream"}),
	}
}

// know has upstreams counted under their names, as all other metrics have them.
func (m *metrics) know(routes []config.Route) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range routes {
		m.names[r.Path] = r.Name
	}
}

func (m *metrics) count(r *accesslog.Record) {
	key := counted{r.Upstream, r.Kind, r.Cache, r.Status}
	m.mu.RLock()
	c, ok := m.counters[key]
	m.mu.RUnlock()
	if !ok {
		m.mu.Lock()
		c = m.countersOf(key)
		m.counters[key] = c
		m.mu.Unlock()
	}
	c.requests.Inc()
	c.sent.Add(float64(r.Bytes))
	if c.duration != nil {
		c.duration.Observe(r.Duration)
	}
	if c.saved != nil {
		c.saved.Add(float64(r.Bytes))
	}
}

func (m *metrics) countersOf(key counted) counters {
	upstream := m.names[key.path]
	c := counters{
		requests: m.requests.WithLabelValues(upstream, key.kind, string(key.cache), strconv.Itoa(key.status)),
		sent:     m.sent.WithLabelValues(upstream, string(key.cache)),
	}
	if key.kind != "" {
		c.duration = m.duration.WithLabelValues(key.kind, string(key.cache))
	}
	if upstream == "" {
		return c
	}
	saved := m.saved.WithLabelValues(upstream) // 0 until something is saved
	switch key.cache {
	case accesslog.Hit, accesslog.Revalidated, accesslog.Stale, accesslog.Collapsed:
		c.saved = saved
	}
	return c
}
