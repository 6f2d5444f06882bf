package pullthrough

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func get(header ...string) *http.Request { return newRequest(http.MethodGet, header...) }

func newRequest(method string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func TestColdBlobStreamsAndStays(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	w, err := b.serveBlob("org/app", desc.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "the layer", w.Body.String())
	h := w.Header()
	assert.Equal(t, accesslog.Miss, cacheOf(w))
	assert.Equal(t, "application/octet-stream", h.Get("Content-Type"))
	assert.Equal(t, "9", h.Get("Content-Length"))
	assert.Equal(t, desc.Digest.String(), h.Get("Docker-Content-Digest"))
	assert.Equal(t, `"`+desc.Digest.String()+`"`, h.Get("ETag"))
	assert.Equal(t, "max-age=31536000, immutable", h.Get("Cache-Control"))
	assert.Empty(t, h.Get("X-Accel-Redirect"))
	assert.Zero(t, b.up.count("stat"), "one request to the upstream is enough")
	b.have("org/app", desc)

	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w, err = b.serveBlob("org/app", desc.Digest, newRequest(method))
		require.NoError(t, err)
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, accesslog.Hit, cacheOf(w))
		assert.Equal(t, desc.Digest.String(), w.Header().Get("X-Accel-Redirect"))
		assert.Equal(t, "0", w.Header().Get("Content-Length"))
		assert.Empty(t, w.Body.String())
	}
	assert.Equal(t, 1, b.up.count("open"))
}

func TestColdBlobInParts(t *testing.T) {
	for _, c := range []struct {
		rng, contentRange, body string
		status                  int
	}{
		{"bytes=4-", "bytes 4-8/9", "layer", 206},
		{"bytes=0-2", "bytes 0-2/9", "the", 206},
		{"bytes=4-9", "bytes 4-8/9", "layer", 206},
		{"bytes=-2", "bytes 7-8/9", "er", 206},
		{"bytes=99-", "bytes */9", "", 416},
	} {
		t.Run(c.rng, func(t *testing.T) {
			b := newBench(t)
			desc := b.up.addBlob("org/app", "the layer")
			w, err := b.serveBlob("org/app", desc.Digest, get("Range", c.rng))
			require.NoError(t, err)
			assert.Equal(t, c.status, w.Code)
			assert.Equal(t, c.contentRange, w.Header().Get("Content-Range"))
			if c.status == 206 {
				assert.Equal(t, c.body, w.Body.String())
			}
		})
	}
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	w, err := b.serveBlob("org/app", desc.Digest, get("Range", "bytes=0-0,4-5"))
	require.NoError(t, err)
	assert.Equal(t, 206, w.Code)
	assert.Contains(t, w.Header().Get("Content-Type"), "multipart/byteranges")
	b.have("org/app", desc)
	w, err = b.serveBlob("org/app", desc.Digest, get("X-Accel-Refused", "1", "If-None-Match", `"`+desc.Digest.String()+`"`))
	require.NoError(t, err)
	assert.Equal(t, 304, w.Code)
}

func TestRefusedHandOffIsServedFromHere(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	b.have("org/app", desc)
	w, err := b.serveBlob("org/app", desc.Digest, get("X-Accel-Refused", "1", "Range", "bytes=4-"))
	require.NoError(t, err)
	assert.Equal(t, 206, w.Code)
	assert.Equal(t, "layer", w.Body.String())
	assert.Empty(t, w.Header().Get("X-Accel-Redirect"))
	assert.Equal(t, accesslog.Hit, cacheOf(w))

	require.NoError(t, os.Remove(b.store.BlobPath(desc.Digest)))
	w, err = b.serveBlob("org/app", desc.Digest, get("X-Accel-Refused", "1"))
	require.NoError(t, err)
	assert.Equal(t, "the layer", w.Body.String())
	assert.Equal(t, accesslog.Miss, cacheOf(w), "evicted in between")
}

func TestHeadOfAColdBlobDownloadsNothing(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	w, err := b.serveBlob("org/app", desc.Digest, newRequest(http.MethodHead))
	require.NoError(t, err)
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "9", w.Header().Get("Content-Length"))
	assert.Equal(t, desc.Digest.String(), w.Header().Get("Docker-Content-Digest"))
	assert.Equal(t, map[string]int{"stat": 1}, b.up.calls)
	_, err = b.store.StatBlob(desc.Digest)
	require.ErrorIs(t, err, os.ErrNotExist)

	_, err = b.serveBlob("org/none", desc.Digest, newRequest(http.MethodHead))
	codeIs(t, errcode.ErrorCodeBlobUnknown, err)
}

func TestBlobOfAnotherRepositoryNeedsPermission(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/private", "the layer")
	b.have("org/private", desc)

	_, err := b.serveBlob("org/public", desc.Digest, get())
	codeIs(t, errcode.ErrorCodeBlobUnknown, err)
	b.up.failing(upErr(upstream.Denied), "stat")
	_, err = b.serveBlob("org/public", desc.Digest, get())
	codeIs(t, errcode.ErrorCodeDenied, err)
	b.up.failing(upErr(upstream.Unavailable), "stat")
	_, err = b.serveBlob("org/public", desc.Digest, get())
	codeIs(t, errcode.ErrorCodeUnavailable, err)
	require.False(t, b.store.HasLink("quay.io/org/public", images.Layer, desc.Digest))

	b.up.failing(nil, "stat")
	b.up.addBlob("org/public", "the layer")
	w, err := b.serveBlob("org/public", desc.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, accesslog.Revalidated, cacheOf(w))
	assert.Equal(t, desc.Digest.String(), w.Header().Get("X-Accel-Redirect"))
	w, err = b.serveBlob("org/public", desc.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, accesslog.Hit, cacheOf(w), "and from now on it is known")
	assert.Equal(t, 1, b.up.count("open"), "fetched once for both")
}

func TestOfflineBlobs(t *testing.T) {
	b := newBench(t)
	here, unlinked := b.up.addBlob("org/app", "here"), b.up.addBlob("org/other", "unlinked")
	b.have("org/app", here)
	b.have("org/other", unlinked)
	off := benchIn(t, b.dir, newFake(), func(o *Options) { o.Offline = true })
	w, err := off.serveBlob("org/app", here.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, accesslog.Hit, cacheOf(w))
	for _, d := range []string{"unlinked", "never seen"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			_, err = off.serveBlob("org/app", off.up.addBlob("org/app", d).Digest, newRequest(method))
			codeIs(t, errcode.ErrorCodeBlobUnknown, err)
			assert.ErrorContains(t, err, "OFFLINE")
		}
	}
	assert.Empty(t, off.up.calls)
}

// breakingReader is content that ends with an error.
type breakingReader struct {
	*bytes.Reader
	at int64
}

var errBroken = errors.New("broken")

func (r breakingReader) Read(p []byte) (int, error) {
	pos, err := r.Seek(0, io.SeekCurrent)
	if err != nil || pos >= r.at {
		return 0, errBroken
	}
	return r.Reader.Read(p[:min(int64(len(p)), r.at-pos)])
}

func TestBrokenBodyIsAborted(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", octetStream)
		at, err := strconv.ParseInt(r.URL.Query().Get("at"), 10, 64)
		if assert.NoError(t, err) {
			assert.NoError(t, serveContent(w, r, breakingReader{bytes.NewReader(content), at}))
		}
	}))
	defer server.Close()
	for _, c := range []struct{ at, rng string }{
		{"99999", ""}, {"50000", "bytes=10-"}, {"50000", "bytes=0-9,40000-60000"},
	} {
		req, err := http.NewRequest(http.MethodGet, server.URL+"?at="+c.at, nil)
		require.NoError(t, err)
		if c.rng != "" {
			req.Header.Set("Range", c.rng)
		}
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "after %d bytes", len(body))
		require.NoError(t, resp.Body.Close())
		assert.NotContains(t, string(body), "errors", "no JSON behind the bytes")
	}
}

// net/http notices most answers that are too short by itself, and logs nothing.
// It must not be what this relies on.
func TestBrokenBodyIsAbortedByThePanic(t *testing.T) {
	serve := func(w http.ResponseWriter, at int64) error {
		return serveContent(w, get(), breakingReader{bytes.NewReader([]byte("content")), at})
	}
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { _ = serve(httptest.NewRecorder(), 3) })
	require.NotPanics(t, func() { require.NoError(t, serve(httptest.NewRecorder(), 8)) })
}

// As long as there is no byte, the client can be told what is wrong.
func TestBlobWithoutAByteIsAnError(t *testing.T) {
	for _, header := range [][]string{nil, {"X-Accel-Growing", "1"}, {"Range", "bytes=2-4"}} {
		b := newBench(t)
		desc := b.up.addBlob("org/app", "the layer")
		b.up.body = func([]byte) io.ReadCloser { return io.NopCloser(strings.NewReader("the lawyer")) }
		w, err := b.serveBlob("org/app", desc.Digest, get(header...))
		codeIs(t, codeUpstreamInvalid, err)
		assert.Contains(t, err.Error(), "quay.io: get blob "+desc.Digest.String()+" of org/app")
		assert.Contains(t, err.Error(), "wrong digest")
		assert.Equal(t, accesslog.Failed, cacheOf(w))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges", "Etag", "Docker-Content-Digest"} {
			assert.Empty(t, w.Header().Get(name), name)
		}
	}
}

// A worker that ends leaves what it has sent nothing of to its successor.
func TestBlobWithoutAByteIsLeftToTheNextWorker(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	asked := make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	b.up.body = func([]byte) io.ReadCloser {
		return io.NopCloser(readerFunc(func([]byte) (int, error) {
			ask()
			return 0, io.ErrUnexpectedEOF // and again, for half a minute
		}))
	}
	stopped := make(chan error, 1)
	go func() {
		<-asked
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		stopped <- b.fills.Close(ctx)
	}()
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { _, _ = b.serveBlob("org/app", desc.Digest, get()) })
	require.Error(t, <-stopped)
}

func TestBlobBetweenItsPlaceAndItsLink(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	release := make(chan struct{})
	b.up.body = func(content []byte) io.ReadCloser {
		return io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) { <-release; return 0, io.EOF }), bytes.NewReader(content)))
	}
	done := make(chan error)
	go func() {
		_, err := b.serveBlob("org/app", desc.Digest, get())
		done <- err
	}()
	require.Eventually(t, func() bool { return b.fills.Filling("quay.io/org/app", desc.Digest) }, 10*time.Second, time.Millisecond)
	require.NoError(t, os.MkdirAll(filepath.Dir(b.store.BlobPath(desc.Digest)), 0o755))
	require.NoError(t, os.WriteFile(b.store.BlobPath(desc.Digest), []byte("the layer"), 0o600))
	w, err := b.serveBlob("org/app", desc.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, accesslog.Hit, cacheOf(w))
	assert.Zero(t, b.up.count("stat"), "the fill has the upstream's word")

	b.up.addBlob("org/other", "the layer")
	_, err = b.serveBlob("org/other", desc.Digest, get())
	require.NoError(t, err)
	assert.Equal(t, 1, b.up.count("stat"), "but only for its own repository")
	close(release)
	require.NoError(t, <-done)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUnreadableSourceIsAnError(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/app", "the layer")
	b.up.failing(upErr(upstream.NotFound), "open")
	w, err := b.serveBlob("org/app", desc.Digest, get())
	codeIs(t, errcode.ErrorCodeBlobUnknown, err)
	assert.Equal(t, accesslog.Failed, cacheOf(w))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
}

// A blob that is linked counts as used from that moment: the cleaner may be
// about to take away what nobody used for long.
func TestLinkedBlobCountsAsUsed(t *testing.T) {
	b := newBench(t)
	desc := b.up.addBlob("org/one", "shared")
	b.up.addBlob("org/two", "shared")
	b.have("org/one", desc)
	long := time.Now().Add(-24 * time.Hour)
	path := b.store.BlobPath(desc.Digest)
	require.NoError(t, os.Chtimes(path, long, long))
	before := time.Now().Add(-time.Minute)

	w, err := b.serveBlob("org/two", desc.Digest, get())
	require.NoError(t, err)
	require.Equal(t, accesslog.Revalidated, cacheOf(w))
	var st syscall.Stat_t
	require.NoError(t, syscall.Stat(path, &st))
	assert.True(t, time.Unix(st.Atim.Unix()).After(before))
	assert.Equal(t, 1, b.up.count("open"), "one transfer")
}

// What the upstream has sent is passed on, however little it is.
func TestFirstBytesArePassedOnAtOnce(t *testing.T) {
	b := newBench(t)
	content := strings.Repeat("x", 100_000)
	desc := b.up.addBlob("org/app", content)
	r, w := io.Pipe()
	b.up.body = func([]byte) io.ReadCloser { return r }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := withExchange(req.Context(), &exchange{w: w})
		_ = b.repo("org/app").Blobs(ctx).ServeBlob(ctx, w, req.WithContext(ctx), desc.Digest)
	}))
	defer server.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, content[:10])
		sent <- err
	}()
	resp, err := http.Get(server.URL)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.ReadFull(resp.Body, make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, <-sent)
	go func() {
		_, err := io.WriteString(w, content[10:])
		sent <- errors.Join(err, w.Close())
	}()
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Len(t, rest, len(content)-10)
	require.NoError(t, <-sent)
}

// Any number of clients that want a blob of another repository are one question.
func TestPermissionIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		desc := b.up.addBlob("org/two", "shared")
		b.up.addBlob("org/one", "shared")
		_, err := b.serveBlob("org/one", desc.Digest, get())
		require.NoError(t, err)
		synctest.Wait()
		release := b.up.hanging()
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				w, err := b.serveBlob("org/two", desc.Digest, get())
				assert.NoError(t, err)
				assert.Equal(t, desc.Digest.String(), w.Header().Get("X-Accel-Redirect"))
			})
		}
		synctest.Wait()
		close(release)
		clients.Wait()
		assert.Equal(t, 1, b.up.count("stat"))
	})
}

func TestPermissionForABlobOnItsWayIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		desc := b.up.addBlob("org/one", "shared")
		b.up.addBlob("org/two", "shared")
		arrived := make(chan struct{})
		b.up.body = func(content []byte) io.ReadCloser {
			return io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) { <-arrived; return 0, io.EOF }), bytes.NewReader(content)))
		}
		var clients sync.WaitGroup
		pull := func(remote string) {
			clients.Go(func() {
				w, err := b.serveBlob(remote, desc.Digest, get())
				assert.NoError(t, err)
				assert.Equal(t, "shared", w.Body.String())
			})
		}
		pull("org/one")
		synctest.Wait()
		release := b.up.hanging()
		for range 20 {
			pull("org/two")
		}
		synctest.Wait()
		assert.Equal(t, 1, b.up.count("stat"))
		close(release)
		synctest.Wait()
		close(arrived)
		clients.Wait()
		assert.Equal(t, 1, b.up.count("stat"))
		assert.Equal(t, 1, b.up.count("open"))
	})
}
