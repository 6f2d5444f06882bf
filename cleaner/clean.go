package cleaner

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

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
	// To, when given, is the size in bytes to clean to, however little the
	// store is over it, in place of what the settings call for. What they keep
	// stays all the same.
	To *int64
	// Progress, when given, is told how many bytes are gone of how many.
	Progress func(gone, all int64)
}

// Clean looks at all of the store once and removes what is too much. It may
// run beside a cleaner that Runs, and tells it what went.
func Clean(ctx context.Context, store *images.Store, set config.Cleaner, o Options) (Report, error) {
	c := newCleaner(store)
	c.options = o
	s, err := c.survey(ctx)
	if err != nil {
		return Report{}, err
	}
	r, err := c.clean(ctx, set, s)
	if !o.DryRun {
		store.CountRemoved(r.Before - r.After)
	}
	return r, err
}

// A cleaner keeps what it knows from one clean to the next.
type cleaner struct {
	store   *images.Store
	now     func() time.Time
	disk    func() (images.Disk, error)
	options Options

	// The rest is of one that Runs.
	log     zerolog.Logger
	metrics *metrics
	state   *state
	growth  *images.Growth
	walked  time.Time
	// known is what the store held after the last walk, fills left out.
	known usage
}

func newCleaner(store *images.Store) cleaner {
	return cleaner{store: store, now: time.Now, disk: store.Disk}
}

// look does what is due, and reports. It walks the store only if something is
// to be done, as far as can be told without, or a walk is due.
func (c *cleaner) look(ctx context.Context, set config.Cleaner) (Report, error) {
	start := c.now()
	u, landed, err := c.estimate(ctx)
	if err != nil {
		return Report{}, err
	}
	known := start.Sub(c.walked) < walkEvery && !c.growth.Shrunk()
	if known && goalOf(set, u, start).nothing() && (landed == 0 || len(set.Quotas) == 0) {
		r := newReport(set, u)
		r.Took = c.now().Sub(start)
		c.metrics.looked(set, r, c.now())
		r.write(c.log)
		return r, nil
	}
	// What lands from here on is found by the walk, or counted, or both.
	if err := c.growth.Reset(); err != nil {
		return Report{}, err
	}
	s, err := c.survey(ctx)
	if err != nil {
		return Report{}, err
	}
	r, err := c.clean(ctx, set, s)
	c.known = s.usage
	c.known.bytes = r.After - s.fills
	c.known.upstreams = nil // nothing tells them without a walk
	if err != nil {
		c.walked = time.Time{} // part of it was done
		if r.Blobs > 0 {
			r.write(c.log)
		}
		return r, err
	}
	c.metrics.looked(set, r, c.now())
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
	u.bytes = max(0, u.bytes+landed) + fills
	u.disk, err = c.disk()
	c.metrics.bytes.Set(float64(u.bytes))
	if err == nil {
		c.state.estimated(u, c.now())
	}
	return u, landed, err
}

// survey looks at all of the store.
func (c *cleaner) survey(ctx context.Context) (*survey, error) {
	s, err := take(ctx, c.store, c.now())
	if err == nil {
		s.disk, err = c.disk()
	}
	if err == nil {
		c.state.surveyed(s.usage, s.now)
	}
	return s, err
}

// pressed says whether the store or the disk is so full that a clean can't
// wait. So it is said, too, when a command has removed something, as what went
// while a look was under way counts twice until the next walk.
func (c *cleaner) pressed(ctx context.Context, set config.Cleaner) (bool, error) {
	u, _, err := c.estimate(ctx)
	return goalOf(set, u, c.now()).reclaim > 0 || c.growth.Shrunk(), err
}

// goal is what the settings, or whoever asked for this clean, want.
func (c *cleaner) goal(set config.Cleaner, s *survey) goal {
	if c.options.To == nil {
		return goalOf(set, s.usage, s.now)
	}
	return goal{
		reclaim: max(0, s.bytes-*c.options.To), why: OverLimit, quotas: make([]int64, len(s.upstreams)),
	}
}

// clean removes what is too much of what was found.
func (c *cleaner) clean(ctx context.Context, set config.Cleaner, s *survey) (Report, error) {
	r := newReport(set, s.usage)
	if c.options.To != nil {
		r.Limit = *c.options.To
	}
	e := newEviction(s)
	if !c.goal(set, s).nothing() || len(set.Quotas) > 0 {
		p, young, err := s.plan(ctx, set)
		if err != nil {
			return r, err
		}
		r.Pinned = s.pinned
		for i, bytes := range s.upstreams {
			r.Quotas = append(r.Quotas, QuotaUse{Path: set.Quotas[i].Path, Size: bytes, Limit: set.Quotas[i].MaxSize})
		}
		e.young = young
		r.Missing = c.evict(ctx, p, c.goal(set, s), e)
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
	}
	err := ctx.Err()
	if err == nil {
		r.Swept, err = c.sweep(ctx, s, e)
	}
	r.Took = c.now().Sub(s.now)
	return r, err
}

// sweep removes what leads to what is gone: of the whole store when a walk is
// due, else what is known to be gone. Whoever wants a size waits for no more.
func (c *cleaner) sweep(ctx context.Context, s *survey, e *eviction) (images.Swept, error) {
	o := images.Sweeping{Before: s.now.Add(-youngAge)}
	switch {
	case c.options.DryRun:
		return images.Swept{}, nil
	case c.options.To == nil && s.now.Sub(c.walked) >= walkEvery:
		return s.Sweep(ctx, e.gone, o)
	case e.blobs > 0:
		return s.SweepEvicted(ctx, e.gone, o)
	}
	return images.Swept{}, nil
}

// evict carries the plan out and returns what it could not reach.
func (c *cleaner) evict(ctx context.Context, p *plan, g goal, e *eviction) (missing int64) {
	progress := func() {}
	if c.options.Progress != nil {
		all := p.total(g)
		progress = func() { c.options.Progress(e.bytes, max(all, e.bytes)) }
		progress()
	}
	return p.choose(g, func(batch []choice) []bool {
		if ctx.Err() != nil {
			return nil
		}
		gone := c.remove(e, batch)
		for n, one := range batch {
			if gone[n] {
				e.add(one.blob, one.why)
				c.metrics.evict(e.Blobs[one.blob].Allocated, one.why)
				c.state.evicted(e.Blobs[one.blob].Allocated)
			}
		}
		progress()
		return gone
	})
}

// remove removes blobs and says which are gone.
func (c *cleaner) remove(e *eviction, batch []choice) (gone []bool) {
	if c.options.DryRun {
		return slices.Repeat([]bool{true}, len(batch))
	}
	blobs := make([]int32, len(batch))
	for n, one := range batch {
		blobs[n] = one.blob
	}
	gone = make([]bool, len(batch))
	for n, err := range e.Evict(blobs) {
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			gone[n] = true
		case errors.Is(err, images.ErrUsed):
			e.young += e.Blobs[blobs[n]].Allocated
		default:
			if e.failed++; e.failure == nil {
				e.failure = err
			}
		}
	}
	return gone
}

func newReport(set config.Cleaner, u usage) Report {
	return Report{
		Before: u.bytes, After: u.bytes, Limit: set.MaxSize, DiskFree: u.disk.Free,
		Oldest: u.oldest, Newest: u.newest,
	}
}
