package router

import (
	"context"
	"sync"
)

// flights joins everybody who wants the same at the same time into one piece of
// work. The work belongs to none of them: it goes on while anybody waits, and
// is cancelled when the last one has left.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
}

type flight struct {
	cancel context.CancelFunc
	// waiting is guarded by flights.mu.
	waiting int
	done    chan struct{}
	// answer and err may be read once done is closed.
	answer *shared
	err    error
}

func newFlights() *flights { return &flights{running: make(map[string]*flight)} }

// wait starts the work, or joins it when it is under way, and waits for its end
// or for that of ctx. joined says that another one started it.
func (f *flights) wait(ctx context.Context, key string, work func(context.Context) (*shared, error)) (answer *shared, joined bool, err error) {
	fl, joined := f.join(key, work)
	select {
	case <-fl.done:
		return fl.answer, joined, fl.err
	case <-ctx.Done():
		f.leave(key, fl)
		return nil, joined, ctx.Err()
	}
}

func (f *flights) join(key string, work func(context.Context) (*shared, error)) (fl *flight, joined bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.running[key]; ok {
		fl.waiting++
		return fl, true
	}
	ctx, cancel := context.WithCancel(context.Background())
	fl = &flight{cancel: cancel, waiting: 1, done: make(chan struct{})}
	f.running[key] = fl
	go func() {
		defer cancel()
		fl.answer, fl.err = work(ctx)
		f.mu.Lock()
		f.remove(key, fl)
		f.mu.Unlock()
		close(fl.done)
	}()
	return fl, false
}

// leave is for one who no longer waits. Who comes after the last has left
// starts anew.
func (f *flights) leave(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		f.remove(key, fl)
		fl.cancel()
	}
}

func (f *flights) remove(key string, fl *flight) {
	if f.running[key] == fl {
		delete(f.running, key)
	}
}
