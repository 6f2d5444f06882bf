package router

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"registrycache/logger/accesslog"
)

// metrics count answers. No label takes a value from a client: upstreams are
// the configured ones, the rest are small fixed sets.
type metrics struct {
	requests *prometheus.CounterVec
	sent     *prometheus.CounterVec

	// counters has those of the two that were needed, found faster than by
	// their labels.
	mu       sync.RWMutex
	counters map[counted]counters
}

// counted is what makes a counter another one.
type counted struct {
	upstream, kind string
	cache          accesslog.CacheStatus
	status         int
}

type counters struct{ requests, sent prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		counters: make(map[counted]counters),
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_requests_total",
			Help: "Requests of clients, by upstream, what was asked for, how the cache answered, and status code (499: the client left before an answer).",
		}, []string{"upstream", "kind", "cache_status", "code"}),
		sent: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "registry_cache_sent_bytes_total",
			Help: "Bytes of bodies sent to clients.",
		}, []string{"upstream", "cache_status"}),
	}
}

func (m *metrics) count(r *accesslog.Record) {
	key := counted{r.Upstream, r.Kind, r.Cache, r.Status}
	m.mu.RLock()
	c, ok := m.counters[key]
	m.mu.RUnlock()
	if !ok {
		c = counters{
			requests: m.requests.WithLabelValues(r.Upstream, r.Kind, string(r.Cache), strconv.Itoa(r.Status)),
			sent:     m.sent.WithLabelValues(r.Upstream, string(r.Cache)),
		}
		m.mu.Lock()
		m.counters[key] = c
		m.mu.Unlock()
	}
	c.requests.Inc()
	c.sent.Add(float64(r.Bytes))
}
