package warm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options are what Run does and how.
type Options struct {
	// Platforms are wanted of an index; nil is all, and attestations too.
	Platforms []Platform
	// Jobs is how many requests run at once. Default 4.
	Jobs int
	// DryRun looks up and fetches no blob.
	DryRun bool
	// Watcher is told how far it is. Default nobody.
	Watcher Watcher
}

// DefaultJobs is how many requests run at once unless told otherwise. The cache
// itself fetches a large blob over several connections.
const DefaultJobs = 4

// ErrInterrupted is why images are not here whose turn did not come because
// the context ended.
var ErrInterrupted = errors.New("interrupted; run it again to go on")

// run is one Run.
type run struct {
	cache  *Cache
	opt    Options
	watch  Watcher
	giveUp context.CancelCauseFunc

	mu sync.Mutex
	// looked up of known.
	looked, known int
	images        []*task
	needs         map[needKey]*need
	// order is that in which needs were found: that of the images.
	order []*need
}

// Run brings the images into the cache, and says what became of each. The error
// is for what concerns all of them: the cache can't be reached, or does not let
// us in. When ctx ends the report says how far it came.
func Run(ctx context.Context, cache *Cache, images []Image, o Options) (Report, error) {
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.Watcher == nil {
		o.Watcher = Unwatched{}
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	defer cancel(nil)
	stop := context.AfterFunc(outer, func() { cancel(ErrInterrupted) })
	defer stop()
	r := &run{cache: cache, opt: o, watch: o.Watcher, giveUp: cancel, needs: map[needKey]*need{}}
	begun := time.Now()
	if err := r.persist(ctx, cache.URL(), cache.ping); err != nil {
		return Report{}, fmt.Errorf("%s: %w", cache.URL(), err)
	}
	for _, image := range images {
		r.images = append(r.images, &task{image: image})
	}
	r.lookup(ctx)
	if !o.DryRun {
		r.fetch(ctx)
	}
	report := Report{Took: time.Since(begun)}
	for _, t := range r.images {
		report.Images = append(report.Images, t.result())
	}
	return report, nil
}

// each calls f for all items, as many at once as there are jobs, in their order.
func each[T any](r *run, items []T, f func(T)) {
	var g errgroup.Group
	g.SetLimit(r.opt.Jobs)
	for _, item := range items {
		g.Go(func() error { f(item); return nil })
	}
	_ = g.Wait() // f returns none
}
