package registryworker

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"registrycache/registryworker/fill"
)

// storeHealth says whether the store is written at present, as a metric and to
// the supervisor, whose /readyz repeats the reason.
type storeHealth struct{ degraded func() error }

var degradedDesc = prometheus.NewDesc("registry_cache_store_degraded",
	"1 while what is pulled can't be kept in the store, and why; pulls go on.", []string{"reason"}, nil)

func (storeHealth) Describe(ch chan<- *prometheus.Desc) { ch <- degradedDesc }

func (h storeHealth) Collect(ch chan<- prometheus.Metric) {
	value, reason := 0.0, h.reason()
	if reason != "" {
		value = 1
	}
	ch <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, value, reason)
}

// reason is "" while the store is written.
func (h storeHealth) reason() string {
	if err := h.degraded(); err != nil {
		return reasonOf(err)
	}
	return ""
}

// reasonOf puts an error into few words, which are few in number too. All of it
// is in the log.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, fill.ErrTooLarge):
		return "a blob is larger than the store may be"
	case errors.Is(err, syscall.ENOSPC):
		return "no space left"
	case errors.Is(err, syscall.EDQUOT):
		return "disk quota exceeded"
	case errors.Is(err, syscall.EROFS):
		return "read-only file system"
	case errors.Is(err, fs.ErrPermission):
		return "no permission"
	case errors.Is(err, syscall.EIO):
		return "input/output error"
	}
	return "see the log"
}
