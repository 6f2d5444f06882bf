package upstream

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests    *prometheus.CounterVec // method, code
	received    prometheus.Counter
	credentials *prometheus.GaugeVec // scope
	limit       *prometheus.GaugeVec
	remaining   *prometheus.GaugeVec
}

// newMetrics registers the client's metrics, or joins those that another
// client has registered there. A nil Registerer keeps them to itself.
func newMetrics(reg prometheus.Registerer, upstream string) (*metrics, error) {
	counter := func(name, help string, labels ...string) (*prometheus.CounterVec, error) {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"upstream"}, labels...))
		return register(reg, v)
	}
	gauge := func(name, help string, labels ...string) (*prometheus.GaugeVec, error) {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, append([]string{"upstream"}, labels...))
		return register(reg, v)
	}
	requests, err1 := counter("registry_cache_upstream_requests_total",
		"Requests sent to the upstream, its token servers and the targets of its redirects; code is the HTTP status, or error when there was no answer.",
		"method", "code")
	received, err2 := counter("registry_cache_upstream_received_bytes_total",
		"Bytes of response bodies received from the upstream.")
	credentials, err3 := gauge("registry_cache_upstream_credentials_ok",
		"1 when the credential was accepted at its last use, 0 when it was refused; scope is its key in the pull secret.",
		"scope")
	limit, err4 := gauge("registry_cache_upstream_ratelimit_limit",
		"Pulls that the upstream allows in its time window, as it last said.")
	remaining, err5 := gauge("registry_cache_upstream_ratelimit_remaining",
		"Pulls left in the upstream's time window, as it last said.")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	own := prometheus.Labels{"upstream": upstream}
	return &metrics{
		requests:    requests.MustCurryWith(own),
		received:    received.With(own),
		credentials: credentials.MustCurryWith(own),
		limit:       limit.MustCurryWith(own),
		remaining:   remaining.MustCurryWith(own),
	}, nil
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if again, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := again.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	return c, err
}

// answered counts one request; status 0 is none.
func (m *metrics) answered(method string, status int) {
	code := "error"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(method, code).Inc()
}

// rateLimit notes what Docker Hub says about its limits.
func (m *metrics) rateLimit(limit, remaining string) {
	if n, ok := parseRateLimit(limit); ok {
		m.limit.WithLabelValues().Set(float64(n))
	}
	if n, ok := parseRateLimit(remaining); ok {
		m.remaining.WithLabelValues().Set(float64(n))
	}
}
