package hosted

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"registrycache/images"
	"registrycache/status"
)

const (
	// measureEvery is how old a measurement may be. Each is a walk over the
	// store, so it is only made when somebody asks.
	measureEvery = time.Minute
	// patience is how long who asks waits for one.
	patience = 300 * time.Millisecond
)

// meter knows how much was pushed.
type meter struct {
	ctx    context.Context
	store  *images.Store
	log    zerolog.Logger
	prefix string

	mu       sync.Mutex
	last     *status.Hosted // nil before the first measurement
	measured time.Time
	// running is closed when the measurement under way has ended; nil if there
	// is none.
	running chan struct{}
	walks   sync.WaitGroup
}

func newMeter(ctx context.Context, prefix string, store *images.Store, log zerolog.Logger) *meter {
	return &meter{ctx: ctx, store: store, log: log, prefix: prefix}
}

// close waits for the measurement under way, which ends with the context.
func (m *meter) close() { m.walks.Wait() }

// part is what there is to say, as of a minute ago at most unless the store is
// slow.
func (m *meter) part() status.Part {
	if running := m.begin(); running != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return status.Part{Hosted: m.last}
}

// begin measures anew if that is due.
func (m *meter) begin() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil || time.Since(m.measured) < measureEvery || m.ctx.Err() != nil {
		return m.running
	}
	running := make(chan struct{})
	m.running = running
	m.walks.Go(func() {
		defer close(running)
		usage, err := m.store.Usage(m.ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.running, m.measured = nil, time.Now()
		if err != nil {
			if m.ctx.Err() == nil {
				m.log.Warn().Err(err).Msg("how much was pushed can't be measured")
			}
			return
		}
		m.last = &status.Hosted{Prefix: m.prefix, Repositories: usage.Repositories, Tags: usage.Tags, Used: usage.Bytes}
	})
	return running
}
