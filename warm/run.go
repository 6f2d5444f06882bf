package warm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Options are what Run does and how.
type Options struct {
	// Platforms are wanted of an index; nil is all, and attestations too.
	Platforms []Platform
	// Jobs is how many blobs are fetched at once, and how many requests look
	// images up meanwhile. Default 4.
	Jobs int
	// DryRun looks up and fetches no blob.
	DryRun bool
	// Watcher is told how far it is. Default nobody.
	Watcher Watcher
}

// DefaultJobs is how many blobs are fetched at once unless told otherwise. The
// cache itself fetches a large blob over several connections.
const DefaultJobs = 4

// ErrInterrupted is why images are not here whose turn did not come because
// the context ended.
var ErrInterrupted = errors.New("interrupted; run it again to go on")

// run is one Run. What of an image is not here is fetched as soon as that is
// known, while others are still looked up.
type run struct {
	cache  *Cache
	opt    Options
	watch  Watcher
	giveUp context.CancelCauseFunc
	// lookups and fetches are pools of their own: a lookup takes a moment, and
	// says early what is wrong and how much there is to do.
	lookups, fetches *pool

	mu sync.Mutex
	// looked up of known.
	looked, known int
	// size is how much there is to fetch, in bytes.
	size   int64
	images []*task
	needs  map[needKey]*need
	// transfers are by blob, and first is the first image in the list that has
	// it: a dry run counts it for that one.
	transfers map[digest.Digest]*transfer
	first     map[digest.Digest]*task
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
	r := &run{
		cache: cache, opt: o, watch: o.Watcher, giveUp: cancel,
		lookups: newPool(o.Jobs), fetches: newPool(o.Jobs),
		needs: map[needKey]*need{}, transfers: map[digest.Digest]*transfer{}, first: map[digest.Digest]*task{},
	}
	begun := time.Now()
	if err := r.persist(ctx, sleep, cache.URL(), cache.ping); err != nil {
		return Report{}, fmt.Errorf("%s: %w", cache.URL(), err)
	}
	for i, image := range images {
		r.images = append(r.images, &task{image: image, place: i})
	}
	r.found(len(images))
	for _, t := range r.images {
		r.lookups.feed(func() { r.lookup(ctx, t) })
	}
	r.lookups.wait()
	r.fetches.wait() // nothing comes to them any more
	report := Report{Took: time.Since(begun)}
	for _, t := range r.images {
		report.Images = append(report.Images, r.result(t))
	}
	return report, nil
}
