package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// maxRequests is how many requests one lane has under way at once; more wait.
// It bounds what one upstream, or one burst of clients, can take of sockets.
const maxRequests = 32

// A lane is a connection pool with a bound on what it does at once. There is
// one for blobs and one for everything else, so that no number of slow blobs
// holds up the check of a tag.
//
// The bound is kept here and not with Transport.MaxConnsPerHost: waiting for
// one's turn has no time limit, and all that comes after it has one.
type lane struct {
	transport *http.Transport
	slots     chan struct{}
}

// acquire waits for a slot; release gives it back.
func (l *lane) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w while waiting for one of %d requests under way to end", ctx.Err(), cap(l.slots))
	}
}

// held is a body that gives back a slot when it is closed.
type held struct {
	io.ReadCloser
	release func()
	once    sync.Once
}

func (h *held) Close() error {
	err := h.ReadCloser.Close()
	h.once.Do(h.release)
	return err
}
