package router

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/logger/accesslog"
)

// growth is the file of a fill, and the worker that fills it.
type growth struct {
	c    *cache
	d    digest.Digest
	file *os.File
	// steps are what the worker does after its header, in order.
	steps []step
	// offset and length are what it says it sends.
	offset, length int64
	status         int
	header         http.Header

	asked   atomic.Int64
	refused atomic.Int64
}

// step is a part of the worker's answer.
type step func(w http.ResponseWriter, r *http.Request)

// grow makes the file of a blob, with nothing in it, and its worker.
func (c *cache) grow(content string) *growth {
	c.t.Helper()
	g := c.growth(content)
	c.worker("quay.io", g.serve)
	return g
}

func (c *cache) growth(content string) *growth {
	c.t.Helper()
	g := &growth{c: c, d: digest.FromString(content), length: int64(len(content)), status: http.StatusOK}
	require.NoError(c.t, os.MkdirAll(c.store.FillDir(g.d), 0o755))
	var err error
	g.file, err = os.Create(filepath.Join(c.store.FillDir(g.d), "data.2"))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = g.file.Close() })
	return g
}

func (g *growth) path() string { return "/v2/quay.io/a/blobs/" + g.d.String() }

func (g *growth) serve(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	h := w.Header()
	h.Set("Docker-Content-Digest", g.d.String())
	h.Set("Cache-Status", accesslog.Collapsed.Header())
	if r.Header.Get("X-Accel-Refused") != "" {
		assert.Empty(g.c.t, r.Header.Get("X-Accel-Growing"))
		g.refused.Add(1)
		_, _ = io.WriteString(w, "by the worker itself")
		return
	}
	assert.Equal(g.c.t, "1", r.Header.Get("X-Accel-Growing"))
	name, err := images.GrowingFile(g.file, g.d, g.offset, g.length)
	assert.NoError(g.c.t, err)
	h.Set("X-Accel-Growing", name.String())
	for field, values := range g.header {
		h[field] = values
	}
	w.WriteHeader(g.status)
	for _, step := range g.steps {
		step(w, r)
		assert.NoError(g.c.t, http.NewResponseController(w).Flush())
	}
}

func mark(n int) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(images.AppendMark(nil, images.Mark{N: int64(n)}))
	}
}

func inline(n int, bytes string) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(images.AppendMark(nil, images.Mark{N: int64(n), Inline: true}))
		_, _ = io.WriteString(w, bytes)
	}
}

func (g *growth) write(content string) {
	_, err := g.file.WriteString(content)
	assert.NoError(g.c.t, err)
}

// The bytes of a growing file go out as far as the marks allow, and no further.
func TestGrowingFileIsSentAsMarked(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			c := newCache(t)
			scheme, client := "http://", c.client
			if secure {
				c.settings.TLS = pair(t, "cache")
				scheme, client = "https://", c.trusting(c.settings.TLS)
			}
			start, end := strings.Repeat("s", 300_000), strings.Repeat("e", 200_000)
			g := c.grow(start + end)
			halfway := make(chan struct{})
			g.steps = []step{
				func(w http.ResponseWriter, r *http.Request) { g.write(start + end); mark(1)(w, r) },
				mark(len(start) - 1),
				func(http.ResponseWriter, *http.Request) { <-halfway; assert.NoError(t, c.store.Commit(g.file, g.d)) },
				mark(len(end)),
			}
			c.start()
			response, err := client.Get(scheme + c.address() + g.path())
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			got := make([]byte, len(start))
			_, err = io.ReadFull(response.Body, got)
			require.NoError(t, err)
			require.Equal(t, start, string(got))
			close(halfway)
			rest, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, end, string(rest))

			assert.Equal(t, int64(len(start+end)), response.ContentLength)
			assert.Equal(t, accesslog.Collapsed.Header(), response.Header.Get("Cache-Status"))
			assert.Equal(t, g.d.String(), response.Header.Get("Docker-Content-Digest"))
			assert.Empty(t, response.Header.Get("X-Accel-Growing"))
			record := c.records(1)[0]
			assert.Equal(t, int64(len(start+end)), record.Bytes)
			assert.Equal(t, accesslog.Collapsed, record.Cache)
			assert.EqualValues(t, len(start+end), testutil.ToFloat64(
				c.handler.metrics.sent.WithLabelValues("quay.io", string(accesslog.Collapsed))))
		})
	}
}

func TestPartOfAGrowingFile(t *testing.T) {
	c := newCache(t)
	g := c.grow("0123456789")
	g.write("0123456789")
	g.status, g.offset, g.length = http.StatusPartialContent, 4, 5
	g.header = http.Header{"Content-Range": {"bytes 4-8/10"}}
	g.steps = []step{mark(2), mark(3)}
	c.start()
	response, body := c.get(g.path())
	assert.Equal(t, http.StatusPartialContent, response.StatusCode)
	assert.Equal(t, "bytes 4-8/10", response.Header.Get("Content-Range"))
	assert.Equal(t, "45678", body)
}

// What the file can't hold comes among the marks.
func TestInlineBytesOfAGrowingFile(t *testing.T) {
	c := newCache(t)
	g := c.grow("0123456789")
	g.write("01234.....")
	g.steps = []step{mark(3), mark(2), inline(2, "56"), inline(1, "7"), inline(2, "89")}
	c.start()
	for range 3 {
		_, body := c.get(g.path())
		assert.Equal(t, "0123456789", body)
	}
	assert.Equal(t, int64(3), g.asked.Load())
	assert.Equal(t, int64(10), c.records(3)[2].Bytes)
}

// However the marks end, the client is never told that what it has is all.
func TestGrowingFileThatBreaksOffNeverEndsCleanly(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	for name, steps := range map[string][]step{
		"cut":                  {mark(50_000), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"ended":                {mark(50_000)},
		"cut within bytes":     {mark(50_000), inline(50_000, "some"), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"ended within bytes":   {mark(50_000), inline(50_000, "some")},
		"too much":             {mark(100_001)},
		"too much in the end":  {mark(99_999), mark(2)},
		"more than there is":   {mark(99_999), func(http.ResponseWriter, *http.Request) {}, mark(1)},
		"no mark":              {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0}) }},
		"part of a mark":       {mark(50_000), func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff}) }},
		"bytes beyond the end": {mark(99_998), inline(3, "xyz")},
		"back to the file":     {mark(50_000), inline(1, "x"), mark(49_999)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			g := c.grow(content)
			g.write(content[1:])
			g.steps = steps
			c.start()
			response, err := c.client.Get("http://" + c.address() + g.path())
			if err == nil {
				var body []byte
				body, err = io.ReadAll(response.Body)
				assert.NoError(t, response.Body.Close())
				assert.Less(t, len(body), len(content))
			}
			require.ErrorIs(t, errors.Join(err, mapEOF(err)), io.ErrUnexpectedEOF)
			c.eventually(func() bool { return strings.Contains(c.log.String(), "broke off") })
		})
	}
}

// mapEOF is for an answer cut before its header.
func mapEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// A file that can't be opened is asked for as bytes.
func TestGrowingFileThatIsGone(t *testing.T) {
	for name, spoil := range map[string]func(*growth){
		"removed": func(g *growth) { assert.NoError(g.c.t, os.Remove(g.file.Name())) },
		"another": func(g *growth) {
			assert.NoError(g.c.t, os.Remove(g.file.Name()))
			assert.NoError(g.c.t, os.WriteFile(g.file.Name(), []byte("wrong"), 0o600))
		},
		"no name": func(g *growth) { g.header = http.Header{"X-Accel-Growing": {"../../etc/passwd"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			g := c.grow("right")
			g.write("right")
			g.steps = []step{mark(5)}
			spoil(g)
			c.start()
			response, body := c.get(g.path())
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.Equal(t, "by the worker itself", body)
			assert.Equal(t, int64(1), g.refused.Load())
		})
	}
}

func TestWorkerThatInsistsOnAGrowingFile(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Accel-Growing", digest.FromString("").String()+" data 1 0 10")
	})
	c.start()
	response, _ := c.get("/v2/quay.io/a/blobs/" + digest.FromString("").String())
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Contains(t, c.log.String(), errHandoffAgain.Error())
}

// Only for a GET of a blob; and nobody outside can say so, or is told.
func TestMarksAreBetweenWorkerAndRouter(t *testing.T) {
	c := newCache(t)
	d := digest.FromString("x").String()
	var got sync.Map
	c.worker("quay.io", func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Method+" "+r.URL.Path, r.Header.Get("X-Accel-Growing"))
		w.Header().Set("X-Accel-Growing", "x")
		w.WriteHeader(http.StatusNotFound)
	})
	c.start()
	smuggled := http.Header{"X-Accel-Growing": {"smuggled"}}
	for method, paths := range map[string]map[string]string{
		http.MethodGet: {
			"/v2/quay.io/a/blobs/" + d: "1", "/v2/quay.io/a/manifests/latest": "",
			"/v2/quay.io/a/referrers/" + d: "", "/v2/quay.io/a/tags/list": "",
		},
		http.MethodHead: {"/v2/quay.io/a/blobs/" + d: ""},
	} {
		for path, want := range paths {
			response, _ := c.do(c.request(method, path, smuggled.Clone()))
			assert.Empty(t, response.Header.Get("X-Accel-Growing"))
			said, ok := got.Load(method + " " + path)
			assert.True(t, ok, path)
			assert.Equal(t, want, said, "%s %s", method, path)
		}
	}
}

func TestClientThatLeavesAGrowingFile(t *testing.T) {
	c := newCache(t)
	g := c.grow("0123456789")
	g.write("01234")
	left := make(chan struct{})
	g.steps = []step{mark(5), func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(left)
		panic(http.ErrAbortHandler)
	}}
	c.start()
	response, err := c.client.Get("http://" + c.address() + g.path())
	require.NoError(t, err)
	_, err = io.ReadFull(response.Body, make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	<-left
	assert.Equal(t, int64(5), c.records(1)[0].Bytes)
	assert.NotContains(t, c.log.String(), "broke off", "a client that leaves is nobody's fault")
}

// The worker has said all it knows, and may end, long before a slow client has
// its bytes.
func TestSlowClientOfAGrowingFileKeepsNoWorker(t *testing.T) {
	c := newCache(t)
	g := c.grow("zeros")
	g.length = 64 << 20 // more than sockets hold
	require.NoError(t, g.file.Truncate(g.length))
	told := make(chan struct{})
	for range 4096 {
		g.steps = append(g.steps, mark(16<<10))
	}
	g.steps = append(g.steps, func(http.ResponseWriter, *http.Request) { close(told) })
	c.start()
	response, err := c.client.Get("http://" + c.address() + g.path())
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("the worker waits for the client")
	}
	n, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	assert.Equal(t, g.length, n)
}

// Marks read to their end leave the connection to the worker for the next.
func TestConnectionIsKeptAfterAGrowingFile(t *testing.T) {
	c := newCache(t)
	g := c.growth("0123456789")
	g.write("0123456789")
	g.steps = []step{mark(10)}
	var connections atomic.Int64
	listener, err := net.Listen("unix", c.settings.Routes[1].Socket)
	require.NoError(t, err)
	server := &http.Server{
		Handler: http.HandlerFunc(g.serve), ReadHeaderTimeout: patience,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	c.start()
	for range 5 {
		_, body := c.get(g.path())
		assert.Equal(t, "0123456789", body)
	}
	assert.Equal(t, int64(1), connections.Load())
}
