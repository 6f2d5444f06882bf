// Package cleaner is the role that keeps the store below its limit: it evicts
// what was used longest ago, whole images at a time, until the store and the
// disk are as they should be.
//
// It may run beside any number of pulls and be killed at any moment. Blobs
// that landed within the last minute stay, and so do fills, what is pinned,
// what was pushed, and what was used while it was at work; an image never
// looks whole but is not, because a manifest goes before what it needs. What
// was evicted and is asked for again is fetched again.
//
// How the parts fit:
//
//	runner    when to look: every RunEvery, and when pressed
//	cleaner   one look: without a walk if that tells enough, else a survey
//	survey    all blobs, their uses, and what must stay
//	goal      how much is to go, for which reason
//	plan      the order in which it goes
//	Report    what went
package cleaner

import (
	"context"
	"errors"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/status"
)

const (
	// atMost is how often the cleaner looks at most, and how often it asks
	// whether it is pressed. Asking reads a few files, whatever the store holds.
	atMost = time.Second
	// soon is when to try again after blobs stood in the way that were too
	// new, and later after anything else did.
	soon  = 10 * time.Second
	later = time.Minute
)

// Run cleans at once, then every RunEvery and as soon as the store is over its
// limit or the disk short, until the context ends, and returns nil then. New
// settings hold at once, and start a clean if they ask for anything else. It
// calls ready once everything that can fail at the start did not, and tell,
// before that, with what knows the store.
func Run(ctx context.Context, first config.Cleaner, updates <-chan config.Cleaner, log zerolog.Logger,
	reg prometheus.Registerer, ready func(), tell func(part func() status.Part)) error {
	store, err := images.Open(first.StoreDir)
	if err != nil {
		return err
	}
	metrics, err := newMetrics(reg, store)
	if err != nil {
		return err
	}
	c := newCleaner(store)
	c.log, c.metrics, c.state, c.growth = log, metrics, &state{settings: first}, store.Growth()
	tell(func() status.Part { return status.Part{Store: c.state.store()} })
	ready()
	run(ctx, c, first, updates)
	return nil
}

func run(ctx context.Context, c cleaner, first config.Cleaner, updates <-chan config.Cleaner) {
	r := runner{cleaner: c, set: first, timer: time.NewTimer(0), poll: time.NewTicker(atMost), done: make(chan outcome)}
	defer r.timer.Stop()
	defer r.poll.Stop()
	r.loop(ctx, updates)
}

// runner decides when to clean.
type runner struct {
	cleaner cleaner
	set     config.Cleaner
	timer   *time.Timer
	poll    *time.Ticker
	// running says that a clean runs, in a goroutine that ends on done.
	running bool
	done    chan outcome
	// stale says that the settings changed while it ran.
	stale bool
	ended time.Time
	every time.Duration // after ended
	// pause is how long after ended being pressed is no reason to start.
	pause time.Duration
}

type outcome struct {
	report Report
	err    error
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
			if !r.running {
				r.start(ctx)
			}
		case <-r.poll.C:
			if r.pressed(ctx) {
				r.start(ctx)
			}
		case o := <-r.done:
			r.end(o)
		}
	}
}

func (r *runner) start(ctx context.Context) {
	r.running, r.stale = true, false
	r.cleaner.state.began()
	set := r.set
	go func() {
		report, err := r.cleaner.look(ctx, set)
		if report.Blobs > 0 {
			// A survey of a large store takes much for a moment only.
			debug.FreeOSMemory()
		}
		r.done <- outcome{report, err}
	}()
}

// pressed says whether to start before it is time.
func (r *runner) pressed(ctx context.Context) bool {
	if r.running || r.ended.IsZero() || time.Since(r.ended) < r.pause {
		return false
	}
	pressed, err := r.cleaner.pressed(ctx, r.set)
	return pressed && err == nil // an error is reported when it is time
}

func (r *runner) end(o outcome) {
	r.running, r.ended, r.every, r.pause = false, time.Now(), max(r.set.RunEvery, atMost), atMost
	r.cleaner.state.ended(o, r.ended)
	switch {
	case errors.Is(o.err, context.Canceled):
		return
	case o.err != nil:
		r.pause = later
		r.cleaner.metrics.failures.Inc()
		r.cleaner.log.Error().Err(o.err).Str("store", r.set.StoreDir).Msg("the store can't be cleaned; it is tried again")
	}
	if o.report.Missing > 0 {
		r.pause = later
		if o.report.Young > 0 {
			r.pause = soon
			r.every = min(r.every, soon)
		}
	}
	if r.stale {
		r.every = 0
	}
	r.schedule()
}

// schedule sets the timer to when the next clean is due.
func (r *runner) schedule() {
	due := r.ended.Add(r.every)
	r.cleaner.state.next(due)
	r.timer.Reset(max(0, time.Until(due)))
}

func (r *runner) update(set config.Cleaner) {
	old := r.set
	r.set = set
	r.cleaner.state.set(set)
	r.every = max(set.RunEvery, atMost)
	old.RunEvery, old.LogLevel = set.RunEvery, set.LogLevel
	if !reflect.DeepEqual(old, set) {
		r.stale, r.every = true, 0
	}
	if !r.running && !r.ended.IsZero() {
		r.schedule()
	}
}
