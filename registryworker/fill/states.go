package fill

import (
	"context"
	"errors"
	"time"
)

// openLocked lets newcomers in: the upstream has answered and the size is known.
func (t *transfer) openLocked() {
	if t.schedule.answered {
		return
	}
	t.schedule.answered = true
	t.wakeVerifier()  // of an empty blob nothing else comes
	if t.err == nil { // else it is closed already
		close(t.opening)
	}
}

// opened waits until the size is known, and returns an error when it won't be:
// errAgain, errDirect or the upstream's.
func (t *transfer) opened(ctx context.Context) error {
	select {
	case <-t.opening:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.err, errDirect) && t.schedule.answered {
		return nil // part of it can be read
	}
	return t.err
}

// isOpen says whether the upstream has answered.
func (t *transfer) isOpen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.schedule.answered && t.err == nil
}

func (t *transfer) isSettled() bool {
	select {
	case <-t.settled:
		return true
	default:
		return false
	}
}

// settle ends the fetching; the first outcome counts. Readers go on at once when
// all is right or they must help themselves. Else they wait for end, which
// knows what comes next.
func (t *transfer) settle(outcome error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isSettled() {
		return
	}
	t.outcome = outcome
	close(t.settled)
	if outcome == nil {
		t.verified = true
		t.openLocked()
		t.wakeReaders()
	} else if _, ok := errors.AsType[*storeError](outcome); ok {
		t.endLocked(errDirect)
	}
}

// end gives readers the error.
func (t *transfer) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(err)
}

// replace sends those readers to next that can begin with it.
func (t *transfer) replace(next *transfer) {
	next.acquire()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replacement = next
	t.endLocked(errAgain)
}

// successor returns the try that replaces t, with a reference, or nil. The
// caller has a reference to t, which keeps it.
func (t *transfer) successor() *transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.replacement != nil {
		t.replacement.acquire()
	}
	return t.replacement
}

func (t *transfer) endLocked(err error) {
	if t.err != nil {
		return
	}
	t.err = err
	if !t.schedule.answered {
		close(t.opening)
	}
	t.wakeReaders()
}

func (t *transfer) acquire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs++
}

// release gives up a reference; the file goes with the last.
func (t *transfer) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs--; t.refs > 0 {
		return
	}
	if t.file != nil {
		_ = t.file.Close() // all that mattered was synced
	}
	if t.replacement != nil {
		t.replacement.release()
	}
}

// knownSize is the blob's size; -1 before it is known.
func (t *transfer) knownSize() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size
}

func (t *transfer) progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Progress{
		Size: t.size, Have: t.have.total(), Resumed: t.resumed, Rate: t.speed.rate(time.Now()),
		Readers: len(t.readers), Connections: len(t.schedule.claims),
	}
}
