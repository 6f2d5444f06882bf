package pullthrough

import (
	"context"
	"errors"
	"sync"
	"time"
)

// workTimeout bounds one piece of background work: a tag's HEAD and manifest.
// The upstream's client has tighter timeouts for each step.
const workTimeout = time.Minute

var errClosed = errors.New("the worker is shutting down")

// background is work that outlives the requests that caused it.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newBackground() *background {
	b := &background{}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// start runs work unless close was called.
func (b *background) start(work func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Go(func() {
		ctx, cancel := context.WithTimeout(b.ctx, workTimeout)
		defer cancel()
		work(ctx)
	})
	return true
}

func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
}

// flights joins everybody who wants the same thing at the same time into one
// piece of work. Unlike x/sync/singleflight, the work belongs to none of them
// (the first may leave, the rest still get their answer), it can be waited for
// at the end, and each caller learns whether the work was done for it.
type flights[V any] struct {
	background *background
	mu         sync.Mutex
	running    map[string]*flight[V]
}

type flight[V any] struct {
	done chan struct{}
	// value and err may be read once done is closed.
	value V
	err   error
}

func newFlights[V any](b *background) *flights[V] {
	return &flights[V]{background: b, running: map[string]*flight[V]{}}
}

// join starts the work, or joins it when it is under way for the same key.
func (f *flights[V]) join(key string, work func(context.Context) (V, error)) (fl *flight[V], joined bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.running[key]; ok {
		return fl, true
	}
	fl = &flight[V]{done: make(chan struct{})}
	started := f.background.start(func(ctx context.Context) {
		fl.value, fl.err = work(ctx)
		f.mu.Lock()
		delete(f.running, key)
		f.mu.Unlock()
		close(fl.done)
	})
	if started {
		f.running[key] = fl
	} else {
		fl.err = errClosed
		close(fl.done)
	}
	return fl, false
}

// wait joins the work and waits for its end, or for that of the caller.
func (f *flights[V]) wait(ctx context.Context, key string, work func(context.Context) (V, error)) (v V, joined bool, err error) {
	fl, joined := f.join(key, work)
	select {
	case <-fl.done:
		return fl.value, joined, fl.err
	case <-ctx.Done():
		return v, joined, ctx.Err()
	}
}
