package pullthrough

import (
	"sync"
	"time"

	"github.com/rs/zerolog"

	"registrycache/status"
)

// How long the circuit stays open before the upstream is asked again; doubled
// with every failure in a row.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
	// maxRetryAfter bounds what an upstream may demand by Retry-After.
	maxRetryAfter = 10 * time.Minute
	// probeFor is how long an upstream is probed that nobody asks for anything.
	probeFor = 10 * time.Minute
)

// circuit keeps requests that have a stale answer from waiting for an upstream
// that fails. It opens with one failed check. After each pause the tag asked for
// last is checked in the background, so that one broken repository can't keep
// the circuit open for all others; success closes it. When nobody asked for
// anything for long the circuit lapses, and the next request is a check like any
// other: an upstream nobody uses is not bothered for ever, and what was known of
// it then is not believed now.
type circuit struct {
	upstream string
	log      zerolog.Logger
	metrics  *metrics

	mu     sync.Mutex
	closed bool // by close: no timers any more
	// failing is from the first failure to the next success.
	failing bool
	// open is while warm tags don't wait.
	open bool
	// failure is of the check that failed last, also when others went well since.
	failure *status.Failure
	pause   time.Duration
	timer   *time.Timer
	// probe is the check of the tag that was asked for last, at asked.
	probe func()
	asked time.Time
}

func newCircuit(name string, log zerolog.Logger, m *metrics) *circuit {
	return &circuit{upstream: name, log: log, metrics: m}
}

// state returns whether the circuit is open, and the last failure if any.
func (c *circuit) state() (string, *status.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return status.CircuitOpen, c.failure
	}
	return status.CircuitClosed, c.failure
}

// blocks says whether a request that has a stale answer should take it at
// once. probe is the check it would have made, if that says something about
// the upstream; it must not block.
func (c *circuit) blocks(probe func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if probe != nil {
		c.probe, c.asked = probe, time.Now()
	}
	return c.open
}

// failed records that a check failed, and retryAfter if the upstream named a
// time.
func (c *circuit) failed(err error, retryAfter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.timer != nil {
		return
	}
	if !c.failing {
		c.failing = true
		c.metrics.failing.Set(1)
		c.log.Warn().Err(err).Str("upstream", c.upstream).Msg("the upstream fails; tags are served as they are known")
	}
	c.open = true
	c.metrics.open.Set(1)
	c.failure = &status.Failure{Time: time.Now(), Text: err.Error()}
	c.pause = min(max(2*c.pause, minPause), maxPause)
	c.timer = time.AfterFunc(max(c.pause, min(retryAfter, maxRetryAfter)), c.paused)
}

// succeeded records that the upstream answered.
func (c *circuit) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing {
		return
	}
	c.failing, c.pause = false, 0
	c.shut()
	c.stopTimer()
	c.metrics.failing.Set(0)
	c.log.Info().Str("upstream", c.upstream).Msg("the upstream answers again")
}

// paused is the end of a pause.
func (c *circuit) paused() {
	c.mu.Lock()
	c.timer = nil
	probe := c.probe
	if probe == nil || time.Since(c.asked) > probeFor {
		c.shut()
		probe = nil
	}
	c.mu.Unlock()
	if probe != nil {
		probe()
	}
}

func (c *circuit) shut() {
	c.open = false
	c.metrics.open.Set(0)
}

func (c *circuit) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.stopTimer()
}
