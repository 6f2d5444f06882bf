package upstream

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests    *prometheus.CounterVec // method, code
	received    prometheus.Counter
	credentials *prometheus.GaugeVec // scope
	limit       *prometheus.GaugeVec
	remaining   *prometheus.GaugeVec
	answers     prometheus.ObserverVec // method
}

// answerBuckets tell a registry nearby from one far away, one that is slow, and
// one that comes close to Timeouts.Header.
var answerBuckets = []float64{.01, .05, .25, 1, 5, 20}

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
	answers, err6 := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "registry_cache_upstream_answer_seconds",
		Help:    "Time from sending a request to the header of the answer, of those that were answered.",
		Buckets: answerBuckets,
	}, []string{"upstream", "method"}))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	own := prometheus.Labels{"upstream": upstream}
	return &metrics{
		requests:    requests.MustCurryWith(own),
		received:    received.With(own),
		credentials: credentials.MustCurryWith(own),
		limit:       limit.MustCurryWith(own),
		remaining:   remaining.MustCurryWith(own),
		answers:     answers.MustCurryWith(own),
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

// answered counts a request and its answer, for whose header it waited so long.
func (m *metrics) answered(method string, status int, waited time.Duration) {
	m.requests.WithLabelValues(method, strconv.Itoa(status)).Inc()
	m.answers.WithLabelValues(method).Observe(waited.Seconds())
}

// unanswered counts a request that got no answer.
func (m *metrics) unanswered(method string) {
	m.requests.WithLabelValues(method, "error").Inc()
}
