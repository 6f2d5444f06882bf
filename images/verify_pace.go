package images

import (
	"context"
	"sync"
	"time"
)

// pace spreads reads over time.
type pace struct {
	rate int64 // bytes a second; 0 is no limit

	mu   sync.Mutex
	next time.Time
}

func newPace(rate int64) *pace { return &pace{rate: rate} }

// wait returns when n more bytes may be read, at most some megabytes, or the
// context has ended. Time that nobody used is not made up for.
func (p *pace) wait(ctx context.Context, n int) {
	if p.rate <= 0 {
		return
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	pause := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	p.mu.Unlock()
	if pause == 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
