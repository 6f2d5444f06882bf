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
	// errChanged means that the upstream's blob has another size than before.
	errChanged = errors.New("the size of the blob changed")
	// errIgnored means that the upstream ignored the range.
	errIgnored = errors.New("the upstream ignored the range")
	// errNoSize means that the upstream does not say how large the blob is.
	errNoSize = errors.New("the upstream does not say how large the blob is")
)

// changedError is errChanged with the sizes.
type changedError struct{ was, is int64 }

func (e *changedError) Error() string {
	return fmt.Sprintf("%v from %d to %d bytes", errChanged, e.was, e.is)
}
func (e *changedError) Unwrap() error { return errChanged }

// answer is the body of an upstream's answer, made to behave: it ends with io.EOF
// only where it should, and it does not stall.
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

// whole asks for no range.
var whole = span{0, -1}

// ask opens the bytes of the blob that want names. Where the answer really
// begins is for the caller to look at, who must Close it.
func (e *Engine) ask(ctx context.Context, src Source, want span) (*answer, error) {
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
		cancel(fmt.Errorf("%w: no byte for %s", upstream.ErrStalled, a.idle))
		_ = a.body.Close() // wakes a body that does not look at the context
	})
	a.timer.Stop()
	return a, nil
}

// beginsBy checks that the bytes from offset on are in the body: at its start,
// unless the upstream ignored the range.
func (a *answer) beginsBy(offset int64) error {
	if a.pos == offset || a.pos < offset && !a.ranged {
		return nil
	}
	return &upstream.Error{
		Op: "get blob", Kind: upstream.Invalid,
		Err: fmt.Errorf("the bytes from %d on were asked for, those from %d on came", offset, a.pos),
	}
}

// skip reads up to offset.
func (a *answer) skip(offset int64) error {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for a.pos < offset {
		if _, err := a.Read(buf[:min(int64(len(buf)), offset-a.pos)]); err != nil {
			return noEOF(err)
		}
	}
	return nil
}

// noEOF is for where the end of the body is not the end of what is wanted.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
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
	case errors.Is(context.Cause(a.ctx), upstream.ErrStalled):
		return 0, context.Cause(a.ctx)
	case errors.Is(a.err, io.EOF) && a.end >= 0:
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
