package fill

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	started, completed, failed  prometheus.Counter
	joined, resumed, retries    prometheus.Counter
	received                    prometheus.Counter
	wrongDigests                prometheus.Counter
	storeErrors, direct, purged prometheus.Counter
	running                     prometheus.Gauge
}

// newMetrics panics when the registerer has metrics of these names already:
// there is one engine a process.
func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "registry_cache_fill_" + name, Help: help})
	}
	return &metrics{
		started:   counter("started_total", "Blob fills started."),
		completed: counter("completed_total", "Blob fills verified and stored."),
		failed:    counter("failed_total", "Blob fills given up, refused by the upstream or not stored."),
		joined:    counter("joined_total", "Requests that joined a running fill."),
		resumed:   counter("resumed_total", "Blob fills that went on from bytes found on the disk."),
		retries:   counter("retries_total", "Upstream requests repeated after a failure or a broken connection."),
		received:  counter("received_bytes_total", "Bytes of blobs received from the upstream."),
		wrongDigests: counter("wrong_digest_total",
			"Blobs received whole from the upstream whose digest was wrong."),
		storeErrors: counter("store_errors_total", "Failures to write to the store."),
		direct: counter("direct_reads_total",
			"Readers served straight from the upstream because the store could not be written."),
		purged: counter("purged_total", "Abandoned partial fills removed."),
		running: with.NewGauge(prometheus.GaugeOpts{
			Name: "registry_cache_fill_running", Help: "Blob fills running now.",
		}),
	}
}
