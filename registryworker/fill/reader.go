package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// Reader reads a blob while it is being filled. A Read waits until its bytes are
// there, until Close, or until the context of Open ends. It must be closed.
//
// The error is io.EOF only after the last byte; any other means that the rest
// will not come.
type Reader struct {
	engine *Engine
	ctx    context.Context
	cancel context.CancelCauseFunc
	repo   string
	digest digest.Digest
	src    Source

	// mu keeps Close from a Read that has not noticed yet: http.ServeContent
	// may leave one behind.
	mu     sync.Mutex
	t      *transfer // nil when there is no file at all
	size   int64
	joined bool
	off    atomic.Int64  // of the next byte; the scheduler looks at it
	wake   chan struct{} // sent to by t when the byte at off is there, or never will be

	// prefix is how many bytes from the first on were given out in order,
	// begun says that any were.
	prefix int64
	begun  bool
	err    error // of an earlier Read; another would not mend it
	direct *direct
}

// Size is the blob's, in bytes.
func (r *Reader) Size() int64 { return r.size }

// Joined says that another request had started the fill.
func (r *Reader) Joined() bool { return r.joined }

// Stored says that the blob goes through the store. It is false when the store
// can't be written and the bytes come straight from the upstream: each such
// reader makes requests of its own.
func (r *Reader) Stored() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.direct == nil
}

// Seek sets the offset of the next Read. It does not wait and asks nothing of
// the upstream.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.off.Load()
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, fmt.Errorf("seek: whence is %d, not 0, 1 or 2", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek: offset %d is before the first byte", offset)
	}
	r.off.Store(offset)
	return offset, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	off, err := r.next()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := r.readAt(p[:min(int64(len(p)), r.size-off)], off)
	r.err = err
	r.given(off, int64(n))
	return n, err
}

// next returns the offset of the next byte, or why there is none.
func (r *Reader) next() (int64, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	off := r.off.Load()
	if off >= r.size {
		return 0, io.EOF
	}
	return off, r.err
}

// given notes that n bytes at off were given out.
func (r *Reader) given(off, n int64) {
	if n == 0 {
		return
	}
	r.begun = true
	if off == r.prefix {
		r.prefix += n
	}
	r.off.Store(off + n)
}

func (r *Reader) readAt(p []byte, off int64) (int, error) {
	end, err := r.reach(off)
	if err == nil {
		var n int
		n, err = r.t.file.ReadAt(p[:min(int64(len(p)), end-off)], off)
		if n > 0 {
			return n, nil
		}
		r.engine.health.broken(err)
		err = errDirect
	}
	if errors.Is(err, errDirect) {
		return r.readDirect(p, off)
	}
	return 0, err
}

// reach waits for the byte at off and returns how far the file can be read from
// there on. errDirect means that the file won't have it.
func (r *Reader) reach(off int64) (end int64, err error) {
	for {
		end, err := r.await(off)
		switch {
		case errors.Is(err, errAgain) && r.begun:
			return 0, r.t.outcome // what came so far would not fit the next try
		case errors.Is(err, errAgain):
			if err := r.change(); err != nil {
				return 0, err
			}
		default:
			return end, err
		}
	}
}

// await waits for the byte at off and returns how far the bytes from there on
// can be read.
func (r *Reader) await(off int64) (end int64, err error) {
	t := r.t
	if t == nil {
		return 0, errDirect
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		end := t.readable(off)
		switch {
		case t.err != nil && (end == off || !errors.Is(t.err, errDirect)):
			return 0, t.err
		case end > off:
			return end, nil
		}
		t.waiting = append(t.waiting, r)
		t.spread()
		t.mu.Unlock()
		select {
		case <-r.wake:
		case <-r.ctx.Done():
			err = context.Cause(r.ctx)
		}
		t.mu.Lock()
		if err != nil {
			t.forget(r)
			return 0, err
		}
	}
}

// readable returns how far the bytes from off on may be given out.
func (t *transfer) readable(off int64) int64 {
	end := t.have.until(off)
	switch {
	case t.verified:
	case t.size <= holdAll:
		return off
	default:
		end = min(end, t.size-1)
	}
	return max(off, end)
}

// wakeReaders wakes those whose byte is there, and all when there will be no
// more.
func (t *transfer) wakeReaders() {
	t.waiting = slices.DeleteFunc(t.waiting, func(r *Reader) bool {
		off := r.off.Load()
		if t.err == nil && t.readable(off) == off {
			return false
		}
		r.wake <- struct{}{} // has room: r is woken once for each time it waits
		return true
	})
}

// forget takes out a reader that no longer waits.
func (t *transfer) forget(r *Reader) {
	t.waiting = slices.DeleteFunc(t.waiting, func(o *Reader) bool { return o == r })
	select {
	case <-r.wake:
	default:
	}
}

// Close ends a Read that waits. The fill goes on.
func (r *Reader) Close() error {
	r.cancel(os.ErrClosed)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave()
	if r.direct != nil {
		r.direct.disconnect()
	}
	return nil
}

// attach makes the reader follow t, a reference to which it takes over.
func (r *Reader) attach(t *transfer) {
	r.t = t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers[r] = struct{}{}
}

func (r *Reader) leave() {
	t := r.t
	if t == nil {
		return
	}
	t.mu.Lock()
	delete(t.readers, r)
	t.mu.Unlock()
	t.release()
	r.t = nil
}
