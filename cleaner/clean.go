package cleaner

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
)

const (
	// youngAge is how long a blob is left alone after it landed or its use
	// was recorded: who fetched it may not have linked it yet.
	youngAge = time.Minute
	// sweepEvery is how often dangling links are looked for when nothing was
	// evicted.
	sweepEvery = 24 * time.Hour
)

// A cleaner keeps what it knows from one clean to the next.
type cleaner struct {
	store   *images.Store
	log     zerolog.Logger
	metrics *metrics
	now     func() time.Time
	swept   time.Time
}

// clean looks once and removes what is too much. It says whether it is worth
// to look again soon, because what stood in the way may go by then.
func (c *cleaner) clean(ctx context.Context, s config.Cleaner) (again bool, err error) {
	start := c.now()
	u, err := c.survey(ctx)
	if err != nil {
		return false, err
	}
	c.metrics.bytes.Set(float64(u.bytes))
	g := goalOf(s, u, start)
	var r removal
	if !g.nothing() {
		r, err = c.evict(ctx, u.blobs, g, start)
		c.metrics.bytes.Set(float64(u.bytes - r.bytes))
	}
	var swept images.Swept
	if err == nil && (r.blobs > 0 || start.Sub(c.swept) >= sweepEvery) {
		swept, err = c.store.Sweep(ctx, start.Add(-youngAge))
		c.swept = start
	}
	if err != nil {
		return false, err
	}
	event := c.log.Info()
	if r.bytes < g.reclaim {
		event = c.log.Warn().Str("missing", size(g.reclaim-r.bytes)).Int("failed", r.failed).AnErr("first_failure", r.failure)
	}
	event.Str("before", size(u.bytes)).Str("after", size(u.bytes-r.bytes)).Str("limit", size(s.MaxSize)).
		Int("evicted", r.blobs).Int("links_removed", swept.Links).Str("disk_free", size(u.disk.Free+r.bytes))
	if u.blobs > 0 {
		event.Time("oldest_use", u.oldest).Time("newest_use", u.newest)
	}
	if r.blobs > 0 {
		event.Time("evicted_up_to_use", r.last)
	}
	message := "store looked at"
	if r.blobs > 0 {
		message = "store cleaned"
	}
	event.Str("took", c.now().Sub(start).Round(time.Millisecond).String()).Msg(message)
	return r.bytes < g.reclaim && r.young > 0, nil
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// survey adds up what the store holds without keeping any of it.
func (c *cleaner) survey(ctx context.Context) (usage, error) {
	var u usage
	err := c.store.WalkBlobs(ctx, func(b images.Blob) error {
		u.blobs++
		u.bytes += b.Allocated
		if u.oldest.IsZero() || b.Used.Before(u.oldest) {
			u.oldest = b.Used
		}
		if b.Used.After(u.newest) {
			u.newest = b.Used
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	fills, err := c.store.FillBytes(ctx)
	if err != nil {
		return u, err
	}
	u.bytes += fills
	u.disk, err = c.store.Disk()
	return u, err
}

// list takes down the blobs of the store, with room for as many as there were.
func (c *cleaner) list(ctx context.Context, blobs int, now time.Time) (*inventory, error) {
	v := &inventory{blobs: make([]blob, 0, blobs+blobs/16), taken: now.UnixNano()}
	err := c.store.WalkBlobs(ctx, func(b images.Blob) error {
		used := b.Used.UnixNano()
		if b.Changed.After(now.Add(-youngAge)) {
			used = kept
			v.young += b.Allocated
		}
		v.blobs = append(v.blobs, blob{b.Digest, b.Allocated, used})
		return nil
	})
	return v, err
}

// relate adds which of the blobs need which. What a manifest needs that has
// landed since they were listed stays.
func (c *cleaner) relate(ctx context.Context, v *inventory) error {
	read := make([]bool, len(v.blobs))
	return c.store.WalkManifests(ctx, func(_ string, d digest.Digest) error {
		from, known := v.find(d)
		if known && read[from] {
			return nil
		}
		needs, err := c.store.Needs(d)
		if err != nil {
			return nil // gone, or not a manifest: it needs nothing
		}
		if known {
			read[from] = true
		}
		for _, d := range append(needs.Manifests, needs.Blobs...) {
			to, here := v.find(d)
			switch {
			case here && known:
				v.needs = append(v.needs, need{from, to})
			case here:
				v.blobs[to].used = kept
			}
		}
		return nil
	})
}

// removal is what an eviction did.
type removal struct {
	blobs int
	bytes int64
	// last is the latest use of what went.
	last time.Time
	// young are the bytes of what was too new to go, or was used meanwhile.
	young int64
	// failed counts what could not be removed, and failure is the first reason.
	failed  int
	failure error
}

func (c *cleaner) evict(ctx context.Context, blobs int, g goal, now time.Time) (removal, error) {
	var r removal
	v, err := c.list(ctx, blobs, now)
	if err != nil {
		return r, err
	}
	if err := c.relate(ctx, v); err != nil {
		return r, err
	}
	r.young = v.young
	v.evict(g, func(b *blob) bool {
		if ctx.Err() != nil {
			return false
		}
		used := when(b.used)
		switch err := c.store.Evict(b.digest, used); {
		case err == nil:
		case errors.Is(err, images.ErrUsed):
			r.young += b.allocated
			return false
		case errors.Is(err, fs.ErrNotExist):
			return true
		default:
			if r.failed++; r.failure == nil {
				r.failure = err
			}
			return false
		}
		r.blobs++
		r.bytes += b.allocated
		if used.After(r.last) {
			r.last = used
		}
		c.metrics.evictions.Inc()
		c.metrics.evicted.Add(float64(b.allocated))
		return true
	})
	return r, ctx.Err()
}
