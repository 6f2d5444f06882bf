package supervisor

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// healthy is how long a process must have been ready for its next end to
// count as a first one.
const healthy = time.Minute

// pauses are the waits before a process that ended is started again: 100 ms,
// doubling to 30 s.
type pauses struct{ exponential backoff.ExponentialBackOff }

func newPauses() *pauses {
	return &pauses{backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond,
		Multiplier:      2,
		MaxInterval:     30 * time.Second,
	}}
}

// next returns the wait after a process that was ready for so long.
func (p *pauses) next(ready time.Duration) time.Duration {
	if ready >= healthy {
		p.reset()
	}
	return p.exponential.NextBackOff()
}

func (p *pauses) reset() { p.exponential.Reset() }
