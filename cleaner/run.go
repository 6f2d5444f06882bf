// Package cleaner is the role that keeps the store below its limit: it looks
// how much disk the blobs take, and if that is too much, or the disk is short,
// evicts what was used longest ago, whole images at a time, until it is not.
//
// It may run beside any number of pulls and be killed at any moment. Blobs
// that landed or were used within the last minute stay, and so do fills; an
// image never looks whole but is not, because a manifest goes before what it
// needs. What was evicted and is asked for again is fetched again.
package cleaner

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
)

const (
	// soon is when to look again after new blobs stood in the way.
	soon = time.Minute
	// atMost is how often the cleaner looks at most.
	atMost = time.Second
)

// Run cleans at once and then every RunEvery until the context ends, and
// returns nil then. New settings hold at once, and start a clean if they ask
// for another size or age. It calls ready once everything that can fail at the
// start did not.
func Run(ctx context.Context, first config.Cleaner, updates <-chan config.Cleaner, log zerolog.Logger,
	reg prometheus.Registerer, ready func()) error {
	store, err := images.Open(first.StoreDir)
	if err != nil {
		return err
	}
	metrics, err := newMetrics(reg)
	if err != nil {
		return err
	}
	ready()
	r := runner{
		cleaner: cleaner{store: store, log: log, metrics: metrics, now: time.Now},
		set:     first,
		timer:   time.NewTimer(0),
		done:    make(chan outcome),
	}
	defer r.timer.Stop()
	r.loop(ctx, updates)
	return nil
}

// runner decides when to clean.
type runner struct {
	cleaner cleaner
	set     config.Cleaner
	timer   *time.Timer
	// running says that a clean runs, in a goroutine that ends on done.
	running bool
	done    chan outcome
	// stale says that the settings changed while it ran.
	stale bool
	ended time.Time
	every time.Duration // after ended
}

type outcome struct {
	again bool
	err   error
}

func (r *runner) loop(ctx context.Context, updates <-chan config.Cleaner) {
	for {
		select {
		case <-ctx.Done():
			if r.running {
				<-r.done
			}
			return
		case set, ok := <-updates:
			if !ok {
				updates = nil
				continue
			}
			r.update(set)
		case <-r.timer.C:
			r.start(ctx)
		case o := <-r.done:
			r.end(o)
		}
	}
}

func (r *runner) start(ctx context.Context) {
	r.running, r.stale = true, false
	set := r.set
	go func() {
		again, err := r.cleaner.clean(ctx, set)
		r.done <- outcome{again, err}
	}()
}

func (r *runner) end(o outcome) {
	r.running, r.ended, r.every = false, time.Now(), max(r.set.RunEvery, atMost)
	switch {
	case errors.Is(o.err, context.Canceled):
		return
	case o.err != nil:
		r.cleaner.log.Error().Err(o.err).Str("store", r.set.StoreDir).Msg("the store can't be cleaned; it is tried again")
	}
	if o.again {
		r.every = min(r.every, soon)
	}
	if r.stale {
		r.every = 0
	}
	r.schedule()
}

// schedule sets the timer to when the next clean is due.
func (r *runner) schedule() {
	r.timer.Reset(max(0, time.Until(r.ended.Add(r.every))))
}

func (r *runner) update(set config.Cleaner) {
	old := r.set
	r.set = set
	r.every = max(set.RunEvery, atMost)
	old.RunEvery, old.LogLevel = set.RunEvery, set.LogLevel
	if !reflect.DeepEqual(old, set) {
		r.stale, r.every = true, 0
	}
	if !r.running && !r.ended.IsZero() {
		r.schedule()
	}
}
