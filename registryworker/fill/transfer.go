package fill

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// holdAll is the size in bytes up to which nothing of a blob is given out
// before its digest was found right. Of a larger one it is the last byte.
const holdAll = 64 << 10

// saveEvery is how often the state of a partial fill is written at least, while
// bytes come in.
const saveEvery = time.Second

var (
	// errStored means that another process has stored the blob meanwhile.
	errStored = errors.New("the blob is stored already")
	// errAgain tells a request to start over: another try is under way.
	errAgain = errors.New("another try is under way")
	// errDirect tells a reader to ask the upstream itself.
	errDirect = errors.New("the store can't be written")
)

// storeError is a failure of the store, which is no reason to fail a pull.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// transfer is one try to get the bytes of a blob into a file. It goes through
// these states, and may leave out any but the last two:
//
//	starting  until the upstream's first answer; newcomers wait in opened
//	open      the size is known; streams write, readers follow
//	settled   all is verified, or something put an end to it
//	ended     streams and verifier are gone; readers may still read the file
type transfer struct {
	fill   *fill
	engine *Engine

	opening chan struct{} // closed when starting is over
	settled chan struct{} // closed when settled, outcome is set then
	ended   chan struct{} // closed when ended

	// hashable tells the verifier that there is more to hash.
	hashable chan struct{}
	streams  sync.WaitGroup
	ctx      context.Context // the streams'

	// Set while starting, by the fill's goroutine.
	file    *os.File
	part    *partial // nil when no file could be made
	resumed int64    // bytes that were on the disk

	mu          sync.Mutex
	refs        int   // the fill's, the readers' and a predecessor's; the last one closes file
	size        int64 // -1 when not known
	have        spans
	unsaved     int64 // bytes since the state was written
	saved       time.Time
	hash        *prefixHash // where the verifier stopped
	hashing     int64       // what the verifier was last woken for
	outcome     error       // of settled; nil when verified
	verified    bool
	err         error     // what readers get when there is nothing more to read
	replacement *transfer // the try that replaces this one, when err is errAgain
	readers     map[*Reader]struct{}
	waiting     []*Reader // for the byte at their offset, longest first
	schedule    schedule
	speed       meter
}

func newTransfer(f *fill) *transfer {
	return &transfer{
		fill: f, engine: f.engine,
		opening: make(chan struct{}), settled: make(chan struct{}), ended: make(chan struct{}),
		hashable: make(chan struct{}, 1),
		refs:     1, size: -1,
		readers:  make(map[*Reader]struct{}),
		schedule: newSchedule(f.engine.opt),
		speed:    newMeter(time.Now()),
	}
}

// storedTransfer is one that is over: a blob in the store.
func storedTransfer(f *os.File, size int64) *transfer {
	return &transfer{
		file: f, refs: 1, size: size, verified: true,
		have: spans(nil).add(0, size), readers: make(map[*Reader]struct{}),
	}
}

// run fetches the blob, and returns nil when all its bytes are on the disk and
// right. It returns a *storeError when the store failed, errStored, errChanged,
// ErrWrongDigest, ErrClosed, or the upstream's error.
func (t *transfer) run() error {
	defer close(t.ended)
	ctx, cancel := context.WithCancel(t.engine.ctx)
	defer cancel()
	t.ctx = ctx
	if err := t.prepare(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		t.settle(err)
		return t.outcome
	}
	defer context.AfterFunc(t.engine.ctx, func() { t.settle(context.Cause(t.engine.ctx)) })()

	var verifier sync.WaitGroup
	verifier.Go(t.verify)
	t.mu.Lock()
	t.wakeVerifier()
	t.spread()
	t.mu.Unlock()
	<-t.settled
	cancel()
	t.streams.Wait()
	verifier.Wait()
	return t.outcome
}

// prepare opens the file and reads what is in it.
func (t *transfer) prepare() error {
	part, err := openPartial(t.engine.store, t.engine.files, t.fill.digest)
	if err != nil {
		return &storeError{err}
	}
	t.part, t.file = part, part.file
	// Only now: another process may have stored it and let go of the lock. One
	// that can't be opened is as good as none, and this will replace it.
	if f, _, err := t.engine.store.OpenBlob(t.fill.digest); err == nil {
		_ = f.Close() // it was not written to
		return errStored
	}
	size, have, err := part.load()
	if err != nil {
		return &storeError{err}
	}
	t.mu.Lock()
	t.size, t.have, t.resumed = size, have, have.total()
	t.saved = time.Now()
	t.mu.Unlock()
	if len(have) == 0 {
		return nil
	}
	t.engine.metrics.resumed.Inc()
	if have.total() < size {
		return nil
	}
	if err := t.confirm(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.openLocked()
	return nil
}

// confirm asks the upstream for permission when there is nothing to fetch.
func (t *transfer) confirm() error {
	for {
		err := permitted(t.ctx, t.fill.source(0))
		if err == nil {
			return nil
		}
		delay, err := t.schedule.retries.unanswered(err)
		if err == nil {
			err = sleep(t.ctx, delay)
		}
		if err != nil {
			return err
		}
	}
}

// written notes that the bytes of the claim up to to are in the file, and lets
// those go on who wait for them.
func (t *transfer) written(c *claim, to int64) {
	now := time.Now()
	t.mu.Lock()
	t.have = t.have.add(c.pos, to)
	t.speed.add(now, to-c.pos)
	t.unsaved += to - c.pos
	c.pos = to
	t.schedule.retries.progress()
	t.wakeReaders()
	t.wakeVerifier()
	if t.size < 0 || t.unsaved < t.engine.opt.SegmentSize && now.Sub(t.saved) < saveEvery {
		t.mu.Unlock()
		return
	}
	size, have := t.size, slices.Clone(t.have)
	t.unsaved, t.saved = 0, now
	t.mu.Unlock()
	if err := t.part.save(size, have); err != nil {
		// The blob itself may fit nevertheless.
		t.engine.health.broken(err)
	}
}

// preserve leaves on the disk what the next fill can use.
func (t *transfer) preserve() {
	if t.part == nil {
		return
	}
	t.mu.Lock()
	size, have := t.size, t.have
	t.mu.Unlock()
	if size <= 0 || len(have) == 0 {
		t.discard()
		return
	}
	if err := t.part.keep(size, have); err != nil {
		t.engine.health.broken(err)
	}
}

// discard removes the file, which readers may still have open.
func (t *transfer) discard() {
	if t.part == nil {
		return
	}
	// When the store can't be written, there is no removing either.
	_ = t.part.slot.remove()
}
