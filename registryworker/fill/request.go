package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"registrycache/registryworker/upstream"
)

// Source fetches the bytes from offset to end of one blob; end -1 is the end of
// the blob, and 0, -1 asks for no range at all. Errors are *upstream.Error. The
// blob may begin before offset where the upstream takes no ranges. The context
// bounds the body, too.
type Source interface {
	OpenBlob(ctx context.Context, offset, end int64) (*upstream.Blob, error)
}

// Stater is a Source that can ask the upstream for the blob's size, and thus
// whether it gives the blob to its repository, without a transfer.
type Stater interface {
	StatBlob(ctx context.Context) (int64, error)
}

// permitted asks the upstream whether the source's repository may have the
// blob.
func permitted(ctx context.Context, src Source) error {
	if s, ok := src.(Stater); ok {
		_, err := s.StatBlob(ctx)
		return err
	}
	b, err := src.OpenBlob(ctx, 0, 1)
	if err != nil {
		return err
	}
	return b.Body.Close()
}

var (
	// errStalled is the end of a body from which nothing came for too long.
	errStalled = errors.New("the upstream sent nothing")
	// errChanged means that the upstream's blob has another size than before.
	errChanged = errors.New("the size of the blob changed")
	// errNoSize means that the upstream does not say how large the blob is.
	errNoSize = errors.New("the upstream does not say how large the blob is")
)

// changedError is errChanged with the sizes.
type changedError struct{ was, is int64 }

func (e *changedError) Error() string {
	return fmt.Sprintf("%v from %d to %d bytes", errChanged, e.was, e.is)
}
func (e *changedError) Unwrap() error { return errChanged }

// answer is the body of an upstream's answer, made to behave: it begins where it
// was asked to, it ends with io.EOF only where it should, and it does not stall.
type answer struct {
	body io.ReadCloser
	// pos is the offset in the blob of the next byte.
	pos int64
	// end is the offset at which the body ends, or -1 when its length is not
	// known.
	end int64
	// size is the blob's, -1 when not known.
	size int64
	// ranged says that the body ends where it was asked to; else it goes on to
	// the end of the blob.
	ranged bool
	err    error // of body

	received func(n int)
	cancel   context.CancelCauseFunc
	ctx      context.Context
	idle     time.Duration
	timer    *time.Timer
}

// ask opens the bytes of the blob that want names. The caller must Close the
// answer.
func (e *Engine) ask(ctx context.Context, src Source, want span) (*answer, error) {
	return e.openAnswer(ctx, src, want.from, want)
}

// askWhole asks for the whole blob, without a range, and skips what is before
// from.
func (e *Engine) askWhole(ctx context.Context, src Source, from int64) (*answer, error) {
	return e.openAnswer(ctx, src, from, span{0, -1})
}

func (e *Engine) openAnswer(ctx context.Context, src Source, from int64, want span) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b, err := src.OpenBlob(ctx, want.from, want.to)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	a := &answer{
		body: b.Body, pos: b.Offset, size: b.Size, ranged: b.Ranged,
		ctx: ctx, cancel: cancel, idle: e.opt.IdleTimeout,
		received: func(n int) { e.metrics.received.Add(float64(n)) },
	}
	a.end = b.Size
	if a.ranged && want.to >= 0 && (a.size < 0 || want.to < a.size) {
		a.end = want.to
	}
	a.timer = time.AfterFunc(a.idle, func() {
		cancel(fmt.Errorf("%w for %s", errStalled, a.idle))
		_ = a.body.Close() // wakes a body that does not look at the context
	})
	a.timer.Stop()
	if err := a.skip(from); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// skip reads up to offset, for an upstream that began before it.
func (a *answer) skip(offset int64) error {
	if a.pos == offset {
		return nil
	}
	if a.pos > offset || a.ranged || a.size >= 0 && offset > a.size {
		return &upstream.Error{
			Op: "get blob", Kind: upstream.Invalid,
			Err: fmt.Errorf("the answer begins at byte %d, asked for was byte %d", a.pos, offset),
		}
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for a.pos < offset {
		if _, err := a.Read(buf[:min(int64(len(buf)), offset-a.pos)]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Read returns no bytes together with an error, and io.EOF only at the end.
func (a *answer) Read(p []byte) (int, error) {
	if a.end >= 0 {
		if a.pos >= a.end {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), a.end-a.pos)]
	}
	var n int
	if a.err == nil {
		a.timer.Reset(a.idle)
		n, a.err = a.body.Read(p)
		a.timer.Stop()
	}
	if n > 0 {
		a.pos += int64(n)
		a.received(n)
		return n, nil
	}
	switch {
	case errors.Is(context.Cause(a.ctx), errStalled):
		return 0, context.Cause(a.ctx)
	case a.err == io.EOF && a.end >= 0:
		return 0, fmt.Errorf("the body ended %d bytes early: %w", a.end-a.pos, io.ErrUnexpectedEOF)
	}
	return 0, a.err
}

// Close lets go of the connection.
func (a *answer) Close() {
	a.timer.Stop()
	_ = a.body.Close() // there is nothing to be done about it
	a.cancel(nil)
}

// rangeRefused says that the upstream would not answer because a range was
// asked for: an empty blob has none (416), and some servers choke on it.
func rangeRefused(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && (e.Status == http.StatusRequestedRangeNotSatisfiable || e.Kind == upstream.Invalid)
}
