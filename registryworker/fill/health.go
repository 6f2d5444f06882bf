package fill

import (
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// warnEvery is how often a failing store is written about in the log.
	warnEvery = time.Minute
	// degradedFor is how long a failure counts when no later fill showed that
	// the store can be written again.
	degradedFor = 5 * time.Minute
)

// health remembers whether the store can be written.
type health struct {
	log     zerolog.Logger
	metrics *metrics

	mu     sync.Mutex
	err    error
	failed time.Time
	warned time.Time
	silent int // failures since the last warning
}

// broken notes a failure of the store.
func (h *health) broken(err error) {
	h.metrics.storeErrors.Inc()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err, h.failed = err, time.Now()
	if !h.warned.IsZero() && h.failed.Sub(h.warned) < warnEvery {
		h.silent++
		return
	}
	h.log.Warn().Err(err).Int("more_since_last_warning", h.silent).
		Msg("the store can't be written: what is pulled is passed on from the upstream and not kept; see that the disk has room and is writable")
	h.warned, h.silent = h.failed, 0
}

// StoreFailed notes that something else than a fill could not write to the
// store, so that there is one warning, one count and one word on its health.
func (e *Engine) StoreFailed(err error) { e.health.broken(err) }

// fine notes that a blob was stored.
func (h *health) fine() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = nil
}

// Degraded returns why the store is not written at present, or nil.
func (e *Engine) Degraded() error {
	e.health.mu.Lock()
	defer e.health.mu.Unlock()
	if e.health.err == nil || time.Since(e.health.failed) > degradedFor {
		return nil
	}
	return fmt.Errorf("the store can't be written: %w", e.health.err)
}
