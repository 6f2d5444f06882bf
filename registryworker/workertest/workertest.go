// Package workertest runs a worker for tests, as the supervisor does, with a
// client that does what the router does.
package workertest

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

// Listen returns a listener on a unix socket.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") // t.TempDir can be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	return ln
}

// Start returns once run has called ready, with a client of what run serves and
// what ends it, which the end of the test does, too. Files that the worker names
// are sent from the store.
func Start(t testing.TB, store *images.Store, run func(ctx context.Context, ln net.Listener, ready func()) error) (client *http.Client, stop func()) {
	t.Helper()
	ln := Listen(t)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ln.Addr().String())
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- run(ctx, ln, func() { close(ready) }) }()
	stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		require.NoError(t, err)
	}
	return &http.Client{Transport: handOff{transport, store}}, stop
}

// handOff is the router's part of X-Accel-Redirect.
type handOff struct {
	http.RoundTripper
	store *images.Store
}

func (h handOff) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.RoundTripper.RoundTrip(req)
	if err != nil || resp.Header.Get("X-Accel-Redirect") == "" {
		return resp, err
	}
	_ = resp.Body.Close()
	f, size, err := h.store.OpenBlob(digest.Digest(resp.Header.Get("X-Accel-Redirect")))
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = f, size
	resp.Header.Del("Content-Length")
	return resp, nil
}
