package e2e

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

const blobs = "/v2/quay.io/podman/hello/blobs/"

// Clients that want a cold blob at once share one transfer, and each has the
// first bytes while the upstream is still sending.
func TestManyClientsShareOneTransfer(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img := harness.Image(t, 2<<20)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	release := make(chan struct{})
	u.Inject(http.MethodGet, "/blobs/"+layer, harness.WaitAfter(1<<20, release))

	var started, done sync.WaitGroup
	for range 20 {
		c := a.HTTP(t)
		started.Add(1)
		done.Go(func() {
			got, err := readInTwo(c, blobs+layer, started.Done)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes of %d: %v", len(got), len(content), err)
			}
		})
	}
	started.Wait() // all have the beginning, and the upstream has not sent the end
	close(release)
	done.Wait()
	require.Equal(t, 1, u.Count(http.MethodGet, "/blobs/"+layer))
}

// readInTwo reads a body and calls between after its beginning.
func readInTwo(c *harness.Caller, path string, between func()) ([]byte, error) {
	var once sync.Once
	defer once.Do(between)
	resp, err := c.Open(http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	start := make([]byte, 100_000)
	if _, err := io.ReadFull(resp.Body, start); err != nil {
		return start, err
	}
	once.Do(between)
	rest, err := io.ReadAll(resp.Body)
	return append(start, rest...), err
}

// A transfer is nobody's: it goes on when the client that began it leaves.
func TestTransferOutlivesItsClient(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img := harness.Image(t, 2<<20)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	release := make(chan struct{})
	u.Inject(http.MethodGet, "/blobs/"+layer, harness.WaitAfter(1<<20, release))
	resp, err := a.HTTP(t).Open(http.MethodGet, blobs+layer)
	require.NoError(t, err)
	_, err = io.ReadFull(resp.Body, make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	close(release)
	a.WaitStored(t, layer)
	require.Equal(t, content, a.HTTP(t).Get(blobs+layer).Body)
	require.Equal(t, 1, u.Count(http.MethodGet, "/blobs/"+layer))
}
