package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// body is a response body that counts, and that fails when the other side
// stays silent. Only time spent in Read counts: a reader may take its time.
type body struct {
	io.ReadCloser
	caller, own context.Context
	cancel      context.CancelCauseFunc
	silence     *time.Timer
	wire        *wire
	close       sync.Once
}

func (w *wire) newBody(caller, own context.Context, cancel context.CancelCauseFunc, rc io.ReadCloser) *body {
	idle := w.timeouts.IdleBody
	silence := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: no byte for %s", ErrStalled, idle)) })
	silence.Stop()
	return &body{ReadCloser: rc, caller: caller, own: own, cancel: cancel, silence: silence, wire: w}
}

func (b *body) Read(p []byte) (int, error) {
	b.silence.Reset(b.wire.timeouts.IdleBody)
	n, err := b.ReadCloser.Read(p)
	b.silence.Stop()
	b.wire.metrics.received.Add(float64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = endOf(b.caller, b.own, err)
	}
	return n, err
}

func (b *body) Close() error {
	var err error
	b.close.Do(func() {
		err = b.ReadCloser.Close()
		b.cancel(nil)
	})
	return err
}

// maxDrain is how much of an unwanted body is read so that its connection can
// be used again.
const maxDrain = 64 << 10

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	_ = resp.Body.Close()
}
