package warm

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// step is how many bytes apart those are that are asked for, for progress.
	// The cache fetches at least as much in one piece, so that being asked for
	// them does not change the order in which it fetches.
	step = 4 << 20
	// settling is how long the cache may take from the last byte to where it
	// says that it has the blob: it writes it to the disk in between.
	settling = 30 * time.Second
)

// fetch brings the blobs that are not here.
func (r *run) fetch(ctx context.Context) {
	batches := r.batches()
	var size int64
	for _, batch := range batches {
		size += batch[0].Size
	}
	r.watch.Fetching(size)
	for _, t := range r.images {
		r.tell(t)
	}
	each(r, batches, func(batch []*need) {
		for i, n := range batch {
			r.begin(n)
			if i > 0 && r.cameAlong(ctx, n) {
				r.settle(n, here, nil)
				continue
			}
			err := r.bring(ctx, n)
			r.settle(n, fetched, err)
		}
	})
}

// batches are the needs that are open, in their order, those of one blob
// together: it comes once, and the other repositories need only be told.
func (r *run) batches() [][]*need {
	var batches [][]*need
	index := map[digest.Digest]int{}
	for _, n := range r.order {
		if n.outcome != open {
			continue
		}
		for _, t := range n.tasks {
			t.pending++
		}
		if i, known := index[n.Digest]; known {
			batches[i] = append(batches[i], n)
			continue
		}
		index[n.Digest] = len(batches)
		batches = append(batches, []*need{n})
	}
	return batches
}

// begin tells whoever watches of the images that now begin.
func (r *run) begin(n *need) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range n.tasks {
		if t.begun {
			continue
		}
		t.begun, t.from = true, time.Now()
		var size int64
		for _, c := range t.needs {
			if c.outcome == open {
				size += c.Size
			}
		}
		r.watch.ImageBegun(t.image.Name, t.pending, size)
	}
}

// settle notes what became of a need, unless it failed, and tells of the images
// that are done.
func (r *run) settle(n *need, became outcome, err error) {
	r.mu.Lock()
	n.outcome, n.err = became, err
	if err != nil {
		n.outcome = failed
	}
	for _, t := range n.tasks {
		t.pending--
		t.to = time.Now()
	}
	r.mu.Unlock()
	for _, t := range n.tasks {
		r.tell(t)
	}
}

// tell says that an image is done, if it is.
func (r *run) tell(t *task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.pending == 0 && !t.told {
		t.told = true
		r.watch.ImageDone(t.result())
	}
}

// cameAlong says whether a blob that another repository just got is here for
// this one, too: the cache has asked the upstream.
func (r *run) cameAlong(ctx context.Context, n *need) bool {
	is, err := r.cache.stat(ctx, n.Repository, n.Digest)
	return err == nil && is
}

// bring has the cache fetch a blob, and follows.
func (r *run) bring(ctx context.Context, n *need) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.watch.BlobBegun(n.Blob)
	err := r.follow(ctx, n.Blob)
	r.watch.BlobDone(n.Blob, err)
	return err
}

// follow asks for one byte after the other until the last one is there.
func (r *run) follow(ctx context.Context, b Blob) error {
	what := b.Repository + " " + short(b.Digest)
	done := func(n int64) { r.watch.BlobAt(b, n) }
	whole := false
	for next := int64(0); !whole && next < max(b.Size, 1); {
		last := max(min(next+step, b.Size)-1, 0)
		err := r.persist(ctx, what, func(ctx context.Context) (err error) {
			whole, err = r.cache.probe(ctx, b, last, done)
			return err
		})
		if err != nil {
			return err
		}
		next = last + 1
		done(min(next, b.Size))
	}
	return r.confirm(ctx, b)
}

// confirm waits until the cache says that it has the blob.
func (r *run) confirm(ctx context.Context, b Blob) error {
	var is bool
	var err error
	deadline := time.Now().Add(settling)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		is, err = r.cache.stat(ctx, b.Repository, b.Digest)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case is:
			return nil
		case time.Now().After(deadline) && err != nil:
			return fmt.Errorf("the cache fetched it, and does not say whether it kept it: %w", err)
		case time.Now().After(deadline):
			return errNotStored
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}
