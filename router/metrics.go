package router

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"registrycache/logger/accesslog"
)

// metrics count answers. No label takes a value from a client: upstreams are
// the configured ones, the rest are small fixed sets.
type metrics struct {
	requests *prometheus.CounterVec
	sent     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
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
	m.requests.WithLabelValues(r.Upstream, r.Kind, string(r.Cache), strconv.Itoa(r.Status)).Inc()
	m.sent.WithLabelValues(r.Upstream, string(r.Cache)).Add(float64(r.Bytes))
}
