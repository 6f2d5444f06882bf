package cleaner

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
)

// walkEvery is how often the store is walked when nothing calls for it, to
// find what nobody counted, and links that lead nowhere.
const walkEvery = 24 * time.Hour

// Options say how Clean goes about it.
type Options struct {
	// DryRun changes nothing.
	DryRun bool
	// Progress, when given, is told how many bytes are gone of how many.
	Progress func(gone, all int64)
}

// Clean looks at all of the store once and removes what is too much. It may
// run beside a cleaner that Runs.
func Clean(ctx context.Context, store *images.Store, set config.Cleaner, o Options) (Report, error) {
	c := cleaner{store: store, now: time.Now, options: o}
	s, err := take(ctx, store, c.now())
	if err != nil {
		return Report{}, err
	}
	return c.clean(ctx, set, s)
}

// A cleaner keeps what it knows from one clean to the next.
type cleaner struct {
	store   *images.Store
	now     func() time.Time
	options Options

	// The rest is of one that Runs.
	log     zerolog.Logger
	metrics *metrics
	growth  *images.Growth
	walked  time.Time
	// known is what the store held after the last walk, fills left out.
	known usage
}

// look does what is due, and reports. It walks the store only if something is
// to be done, as far as can be told without, or a walk is due.
func (c *cleaner) look(ctx context.Context, set config.Cleaner) (Report, error) {
	start := c.now()
	u, landed, err := c.estimate(ctx)
	if err != nil {
		return Report{}, err
	}
	if start.Sub(c.walked) < walkEvery && goalOf(set, u, start).nothing() && (landed == 0 || len(set.Quotas) == 0) {
		r := newReport(set, u)
		r.Took = c.now().Sub(start)
		r.write(c.log)
		return r, nil
	}
	// What lands from here on is found by the walk, or counted, or both.
	if err := c.growth.Reset(); err != nil {
		return Report{}, err
	}
	s, err := take(ctx, c.store, start)
	if err != nil {
		return Report{}, err
	}
	r, err := c.clean(ctx, set, s)
	c.known = s.usage
	c.known.bytes = r.After - s.fills
	c.known.upstreams = nil // nothing tells them without a walk
	if err != nil {
		c.walked = time.Time{} // part of it was done
		return r, err
	}
	c.metrics.bytes.Set(float64(r.After))
	if start.Sub(c.walked) >= walkEvery {
		c.walked = start
	}
	r.write(c.log)
	return r, nil
}

// estimate says what the store holds without a walk.
func (c *cleaner) estimate(ctx context.Context) (u usage, landed int64, err error) {
	u = c.known
	if landed, err = c.growth.Bytes(); err != nil {
		return u, 0, err
	}
	fills, err := c.store.FillBytes(ctx)
	if err != nil {
		return u, 0, err
	}
	u.bytes += landed + fills
	u.disk, err = c.store.Disk()
	c.metrics.bytes.Set(float64(u.bytes))
	return u, landed, err
}

// pressed says whether the store or the disk is so full that a clean can't
// wait.
func (c *cleaner) pressed(ctx context.Context, set config.Cleaner) (bool, error) {
	u, _, err := c.estimate(ctx)
	return goalOf(set, u, c.now()).reclaim > 0, err
}

func newReport(set config.Cleaner, u usage) Report {
	return Report{
		Before: u.bytes, After: u.bytes, Limit: set.MaxSize, DiskFree: u.disk.Free,
		Oldest: u.oldest, Newest: u.newest,
	}
}

// clean removes what is too much of what was found.
func (c *cleaner) clean(ctx context.Context, set config.Cleaner, s *survey) (Report, error) {
	r := newReport(set, s.usage)
	sweeping := images.Sweeping{Before: s.now.Add(-youngAge), Hosted: set.Hosted}
	if !goalOf(set, s.usage, s.now).nothing() || len(set.Quotas) > 0 {
		p, young, err := s.plan(ctx, set)
		if err != nil {
			return r, err
		}
		g := goalOf(set, s.usage, s.now)
		e := newEviction(s)
		e.young = young
		r.Missing = c.evict(ctx, p, g, e)
		r.Blobs, r.After, r.DiskFree = e.blobs, s.bytes-e.bytes, r.DiskFree+e.bytes
		s.oldest = p.oldest(e.gone)
		if r.Missing > 0 {
			r.Young, r.Failed = e.young, e.failed
			if e.failure != nil {
				r.Failure = e.failure.Error()
			}
		}
		if r.Images, r.Loose, err = e.images(); err != nil {
			return r, err
		}
		if e.blobs > 0 {
			sweeping.Gone = e.mayBeGone
		}
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	due := s.now.Sub(c.walked) >= walkEvery
	if due {
		sweeping.Gone = nil
	}
	var err error
	if !c.options.DryRun && (due || r.Blobs > 0) {
		r.Swept, err = c.store.Sweep(ctx, sweeping)
	}
	r.Took = c.now().Sub(s.now)
	return r, err
}

// evict carries the plan out and returns what it could not reach.
func (c *cleaner) evict(ctx context.Context, p *plan, g goal, e *eviction) (missing int64) {
	all := g.reclaim
	for _, reclaim := range g.quotas {
		all = max(all, reclaim)
	}
	return p.choose(g, func(i int32, why Why) bool {
		if ctx.Err() != nil || !c.remove(e, i) {
			return false
		}
		e.add(i, why)
		if c.metrics != nil {
			c.metrics.evictions.Inc()
			c.metrics.evicted.Add(float64(e.Blobs[i].Allocated))
		}
		if c.options.Progress != nil {
			c.options.Progress(e.bytes, max(all, e.bytes))
		}
		return true
	})
}

// remove removes one blob and says whether it is gone.
func (c *cleaner) remove(e *eviction, i int32) bool {
	if c.options.DryRun {
		return true
	}
	err := c.store.Evict(e.Digest(i), when(e.Blobs[i].Used))
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return true
	case errors.Is(err, images.ErrUsed):
		e.young += e.Blobs[i].Allocated
	default:
		if e.failed++; e.failure == nil {
			e.failure = err
		}
	}
	return false
}

// mayBeGone says no to blobs that were there and stayed.
func (e *eviction) mayBeGone(d digest.Digest) bool {
	i, known := e.Find(d)
	return !known || e.gone[i]
}
