package warm

import (
	"context"
	"fmt"
	"time"
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

// transfer is a blob on its way for all repositories that need it: it comes
// once, and the others need only be told. The run's lock guards it.
type transfer struct {
	// needs are those whose turn is to come.
	needs []*need
	// running says that a job sees to them.
	running bool
	// tried says that one of them had its turn.
	tried bool
}

// queue has a blob fetched. The lock is held.
func (r *run) queue(ctx context.Context, n *need) {
	n.queued = true
	on := r.transfers[n.Digest]
	if on == nil {
		on = &transfer{}
		r.transfers[n.Digest] = on
		r.grow(n.Size)
	}
	on.needs = append(on.needs, n)
	if !on.running {
		on.running = true
		r.fetches.add(func() { r.carry(ctx, on) })
	}
}

// grow adds to what there is to fetch. The lock is held.
func (r *run) grow(size int64) {
	r.size += size
	r.watch.Fetching(r.size)
}

// carry sees to those who need a blob, one after the other.
func (r *run) carry(ctx context.Context, on *transfer) {
	for {
		n, again := r.next(on)
		if n == nil {
			return
		}
		if again && r.cameAlong(ctx, n) {
			r.settle(n, here, nil)
			continue
		}
		if again {
			r.mu.Lock()
			r.grow(n.Size)
			r.mu.Unlock()
		}
		r.settle(n, fetched, r.bring(ctx, n))
	}
}

// next is whose turn it is, and whether another had its turn before; nil if
// there is nobody.
func (r *run) next(on *transfer) (n *need, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(on.needs) == 0 {
		on.running = false
		return nil, false
	}
	n, on.needs = on.needs[0], on.needs[1:]
	again, on.tried = on.tried, true
	n.begun = true
	for _, t := range n.tasks {
		if t.ready {
			r.begin(t)
		}
	}
	return n, again
}

// begin tells whoever watches that an image now begins, if it does. The lock is
// held.
func (r *run) begin(t *task) {
	if t.begun {
		return
	}
	t.begun, t.from = true, time.Now()
	var size int64
	for _, n := range t.needs {
		if n.outcome == open {
			size += n.Size
		}
	}
	r.watch.ImageBegun(t.image.Name, t.pending, size)
}

// settle notes what became of a need, unless it failed, and tells of the images
// that are done.
func (r *run) settle(n *need, became outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.outcome, n.err = became, err
	if err != nil {
		n.outcome = failed
	}
	for _, t := range n.tasks {
		t.pending--
		t.to = time.Now()
		r.tell(t)
	}
}

// tell says that an image is done, if it is. The lock is held.
func (r *run) tell(t *task) {
	if t.ready && t.pending == 0 && !t.told {
		t.told = true
		r.watch.ImageDone(r.result(t))
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
		err := r.persist(ctx, r.fetches.pause, what, func(ctx context.Context) (err error) {
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
