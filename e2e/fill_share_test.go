package e2e

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// received is how many bytes the worker has read from its upstream.
func received(t *testing.T, a *harness.Appliance) int64 {
	t.Helper()
	return int64(a.Metric(t, "registry_cache_upstream_received_bytes_total", "upstream", "quay.io"))
}

// readAll gets a blob with n clients at once, each with a connection of its
// own, and checks what they got.
func readAll(t *testing.T, a *harness.Appliance, blob string, content []byte, n int) {
	t.Helper()
	var clients sync.WaitGroup
	for range n {
		c := a.HTTP(t)
		clients.Go(func() {
			got, err := c.Do(http.MethodGet, blobs+blob)
			if err != nil || got.Status != http.StatusOK || !bytes.Equal(got.Body, content) {
				t.Errorf("%s: %d, %d bytes of %d: %v", blob, got.Status, len(got.Body), len(content), err)
			}
		})
	}
	clients.Wait()
}

// A stampede on a cold blob costs the upstream the blob, once.
func TestStampede(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	const clients = 50
	for name, try := range map[string]struct {
		size     int
		settings harness.Settings
	}{
		"small":    {40_000, nil},
		"medium":   {3_000_000, nil},
		"parallel": {12_000_000, harness.Settings{"parallelFrom": "1MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blob, content := d.Random(t, try.size)
			a := d.Cache(t, try.settings)
			release := make(chan struct{})
			d.Inject(http.MethodGet, blob, harness.WaitAfter(1, release))
			done := make(chan struct{})
			go func() {
				defer close(done)
				readAll(t, a, blob, content, clients)
			}()
			harness.Eventually(t, func() bool {
				// Of the small one nothing is given out before all is verified.
				return a.Metric(t, "registry_cache_fill_started_total") == 1 &&
					(name == "small" || a.Metric(t, "registry_cache_fill_joined_total") == clients-1)
			}, "all follow one transfer")
			a.WaitTaken(t)
			close(release)
			<-done
			a.WaitStored(t, blob)
			require.Equal(t, int64(try.size), received(t, a), "each byte comes once")
			if name != "parallel" {
				require.Equal(t, 1, d.Count("", blob))
				require.Equal(t, int64(try.size), d.Sent("", blob))
			}
		})
	}
}

// A large blob comes over several connections, and as many as are configured.
func TestSeveralConnections(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			t.Parallel()
			blob, content := d.Random(t, 40<<20)
			a := d.Cache(t, harness.Settings{"parallelFrom": "4MiB", "connections": connections})
			release := make(chan struct{})
			d.Inject(http.MethodGet, blob, harness.WaitAfter(1<<20, release))
			done := make(chan struct{})
			go func() {
				defer close(done)
				readAll(t, a, blob, content, 1)
			}()
			harness.Eventually(t, func() bool { return d.Active(http.MethodGet, blob) == connections }, "%d requests at once", connections)
			close(release)
			<-done
			a.WaitStored(t, blob)
			require.Equal(t, int64(len(content)), received(t, a))
		})
	}
}

// containerd asks for parts of a cold blob side by side. Together they cost
// what the whole costs.
func TestParallelOffsets(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	for name, settings := range map[string]harness.Settings{
		"one connection": {"connections": 1}, "several": {"parallelFrom": "8MiB"}, "as it comes": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size, step = 24 << 20, 3 << 20
			blob, content := d.Random(t, size)
			a := d.Cache(t, settings)
			var clients sync.WaitGroup
			for from := 0; from < size; from += step {
				c := a.HTTP(t).With("Range", fmt.Sprintf("bytes=%d-", from))
				clients.Go(func() {
					resp, err := c.Open(http.MethodGet, blobs+blob)
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = resp.Body.Close() }()
					got := make([]byte, step)
					_, err = io.ReadFull(resp.Body, got)
					if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, content[from:from+step]) {
						t.Errorf("from %d: %s %v", from, resp.Status, err)
					}
				})
			}
			clients.Wait()
			a.WaitStored(t, blob)
			require.Equal(t, content, a.HTTP(t).Get(blobs+blob).Body)
			// What was in a connection's buffers when a reader further on made
			// it end early is lost.
			require.LessOrEqual(t, received(t, a), int64(size+size/20))
		})
	}
}

// Several ranges of a blob that is on its way, one of them one past the end.
func TestSeveralRangesOfAColdBlob(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 12<<20)
	a := d.Cache(t, nil)
	n := len(content)
	answer := a.HTTP(t).With("Range", fmt.Sprintf("bytes=%d-%d,0-99,5000000-5000999", n-100, n)).Must(http.MethodGet, blobs+blob)
	require.Equal(t, http.StatusPartialContent, answer.Status)
	_, params, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := multipart.NewReader(bytes.NewReader(answer.Body), params["boundary"])
	for _, want := range [][]byte{content[n-100:], content[:100], content[5_000_000:5_001_000]} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	}
	a.WaitStored(t, blob)
	require.LessOrEqual(t, received(t, a), int64(n+n/20))
}

// Who comes while a blob is being stored, after the last byte went out and
// before it is in its place, starts nothing anew.
func TestArrivalsWhileABlobIsStored(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	a := d.Cache(t, nil)
	for range 20 {
		blob, content := d.Random(t, 200_000)
		readAll(t, a, blob, content, 1)
		readAll(t, a, blob, content, 5)
		require.Equal(t, 1, d.Count("", blob))
	}
}

// A client that does not read holds up neither the transfer nor the others, and
// still gets all of it.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 48<<20) // more than sockets hold
	a := d.Cache(t, nil)
	slow, err := a.HTTP(t).Open(http.MethodGet, blobs+blob)
	require.NoError(t, err)
	defer func() { _ = slow.Body.Close() }()
	start := make([]byte, 1)
	_, err = io.ReadFull(slow.Body, start)
	require.NoError(t, err)

	readAll(t, a, blob, content, 2)
	a.WaitStored(t, blob)
	rest, err := io.ReadAll(slow.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, append(start, rest...)))
	require.Equal(t, int64(len(content)), received(t, a))
}

// The first byte goes on to the client while the upstream has sent no more.
func TestFirstByteIsPassedOn(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 1<<20)
	a := d.Cache(t, nil)
	release := make(chan struct{})
	d.Inject(http.MethodGet, blob, harness.WaitAfter(1, release))
	c, first := a.HTTP(t), make(chan struct{})
	var got []byte
	done := make(chan error, 1)
	go func() {
		resp, err := c.Open(http.MethodGet, blobs+blob)
		if err == nil {
			defer func() { _ = resp.Body.Close() }()
			got = make([]byte, len(content))
			if _, err = io.ReadFull(resp.Body, got[:1]); err == nil {
				close(first)
				_, err = io.ReadFull(resp.Body, got[1:])
			}
		}
		done <- err
	}()
	passedOn := harness.Within(harness.Patience, func() bool {
		select {
		case <-first:
			return true
		default:
			return false
		}
	})
	close(release)
	require.NoError(t, <-done)
	require.True(t, passedOn, "it came only with the rest")
	require.True(t, bytes.Equal(content, got))
}

// Memory depends neither on the size of a blob nor on the number of clients.
func TestMemory(t *testing.T) {
	t.Parallel()
	const size, clients = 256 << 20, 50
	d := harness.NewDepot(t)
	blob := d.Sparse(t, size)
	a := d.Cache(t, nil)
	worker, router := a.Child(t, quayWorker), a.Child(t, "registry-cache router")
	var reading sync.WaitGroup
	stored := make(chan struct{})
	for i := range clients {
		c := a.HTTP(t)
		if i%2 == 1 {
			c = c.With("Range", fmt.Sprintf("bytes=%d-", i*(size-8<<20)/clients))
		}
		reading.Add(1)
		go func() {
			defer reading.Done()
			resp, err := c.Open(http.MethodGet, blobs+blob)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			// A slow client: a part at once, and a part when all is stored.
			for range 2 {
				if _, err := io.CopyN(io.Discard, resp.Body, 4<<20); err != nil {
					t.Error(err)
				}
				<-stored
			}
		}()
	}
	a.WaitStored(t, blob)
	close(stored)
	reading.Wait()
	const limit = 100 << 20
	sum := harness.PeakMemory(t, worker) + harness.PeakMemory(t, router)
	t.Logf("worker and router: at most %d MiB", sum>>20)
	require.Less(t, sum, int64(limit))
}
