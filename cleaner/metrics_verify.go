package cleaner

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"registrycache/images"
)

// lastVerify shows what the last `registry-cache clean --verify` found, which
// is another process. It has nothing to show before the first.
type lastVerify struct {
	store            *images.Store
	when, bad, blobs *prometheus.Desc
}

func newLastVerify(store *images.Store) *lastVerify {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("registry_cache_verify_"+name, help, nil, nil)
	}
	return &lastVerify{
		store: store,
		when:  desc("last_timestamp_seconds", "When the last verify of the store ended, since the epoch."),
		bad:   desc("bad_blobs", "Blobs whose content was not what their digest says, at the last verify. They were dropped."),
		blobs: desc("blobs", "Blobs that the last verify read."),
	}
}

func (l *lastVerify) Describe(to chan<- *prometheus.Desc) {
	to <- l.when
	to <- l.bad
	to <- l.blobs
}

func (l *lastVerify) Collect(to chan<- prometheus.Metric) {
	last, err := l.store.LastVerify()
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	gauge(l.when, seconds(last.Ended))
	gauge(l.bad, float64(last.Bad))
	gauge(l.blobs, float64(last.Blobs))
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
