package pullthrough

import (
	"sync"
	"time"
)

// warnEvery is how often the log says that the store can't be written.
const warnEvery = time.Minute

// storeWarning limits the warnings about the store.
type storeWarning struct {
	mu   sync.Mutex
	last time.Time
}

// storeFailed notes that something could not be written. The pull goes on from
// memory or straight from the upstream.
func (c *Cache) storeFailed(err error) {
	c.metrics.storeErrors.Inc()
	c.warning.mu.Lock()
	defer c.warning.mu.Unlock()
	if now := time.Now(); c.warning.last.IsZero() || now.Sub(c.warning.last) >= warnEvery {
		c.warning.last = now
		c.log.Warn().Err(err).Msg("The store can't be written; pulls go on but are not kept")
	}
}
