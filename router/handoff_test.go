package router

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// handsOff is a worker that has every blob in the store, and streams it when
// the router can't open it.
func handsOff(streamed *atomic.Int64, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		w.Header().Set("Docker-Content-Digest", d)
		w.Header().Set("Cache-Status", accesslog.Hit.Header())
		if r.Header.Get("X-Accel-Refused") == "1" {
			streamed.Add(1)
			w.Header().Set("Cache-Status", accesslog.Miss.Header())
			_, _ = io.WriteString(w, content)
			return
		}
		w.Header().Set("X-Accel-Redirect", d)
	}
}

func TestHandoffServesTheFile(t *testing.T) {
	const content = "0123456789"
	c := newCache(t)
	d := c.blob(content).String()
	var streamed atomic.Int64
	c.worker("quay.io", handsOff(&streamed, content))
	c.start()
	for _, tt := range []struct {
		name   string
		method string
		header http.Header
		status int
		body   string
		says   string // Content-Range
	}{
		{name: "whole", status: 200, body: content},
		{name: "head", method: http.MethodHead, status: 200},
		{name: "range", header: http.Header{"Range": {"bytes=2-4"}}, status: 206, body: "234", says: "bytes 2-4/10"},
		{name: "open range", header: http.Header{"Range": {"bytes=7-"}}, status: 206, body: "789", says: "bytes 7-9/10"},
		{name: "suffix", header: http.Header{"Range": {"bytes=-2"}}, status: 206, body: "89", says: "bytes 8-9/10"},
		{name: "from the start", header: http.Header{"Range": {"bytes=0-"}}, status: 206, body: content, says: "bytes 0-9/10"},
		{name: "end one too far", header: http.Header{"Range": {"bytes=0-10"}}, status: 206, body: content, says: "bytes 0-9/10"},
		{name: "past the end", header: http.Header{"Range": {"bytes=10-"}}, status: 416, says: "bytes */10"},
		{name: "head of a range", method: http.MethodHead, header: http.Header{"Range": {"bytes=2-4"}}, status: 200},
		{name: "other units", header: http.Header{"Range": {"items=2-4"}}, status: 200, body: content},
		{name: "the last none", header: http.Header{"Range": {"bytes=-0"}}, status: 200, body: content},
		{name: "the last none beside others", header: http.Header{"Range": {"bytes=0-1, -00"}}, status: 200, body: content},
		{name: "the first", header: http.Header{"Range": {"bytes=0-0"}}, status: 206, body: "0", says: "bytes 0-0/10"},
		{name: "known already", header: http.Header{"If-None-Match": {`"` + d + `"`}}, status: 304},
		{name: "another known", header: http.Header{"If-None-Match": {`"sha256:x"`}}, status: 200, body: content},
		{name: "resume of the same", header: http.Header{"Range": {"bytes=8-"}, "If-Range": {`"` + d + `"`}}, status: 206, body: "89", says: "bytes 8-9/10"},
		{name: "resume of another", header: http.Header{"Range": {"bytes=8-"}, "If-Range": {`"x"`}}, status: 200, body: content},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method := tt.method
			if method == "" {
				method = http.MethodGet
			}
			response, body := c.do(c.request(method, "/v2/quay.io/a/blobs/"+d, tt.header))
			assert.Equal(t, tt.status, response.StatusCode)
			assert.Equal(t, tt.says, response.Header.Get("Content-Range"))
			assert.Equal(t, accesslog.Hit.Header(), response.Header.Get("Cache-Status"))
			assert.Equal(t, d, response.Header.Get("Docker-Content-Digest"))
			assert.Empty(t, response.Header.Get("X-Accel-Redirect"))
			if tt.status != 416 {
				assert.Equal(t, tt.body, body)
				assert.Equal(t, `"`+d+`"`, response.Header.Get("Etag"))
			}
			if tt.status < 300 {
				assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
				assert.Equal(t, "bytes", response.Header.Get("Accept-Ranges"))
			}
			if tt.method == http.MethodHead {
				assert.Equal(t, int64(10), response.ContentLength)
			}
		})
	}
	assert.Zero(t, streamed.Load())
}

func TestHandoffOfSeveralRanges(t *testing.T) {
	c := newCache(t)
	d := c.blob("0123456789" + strings.Repeat(".", 10_000)).String()
	c.worker("quay.io", handsOff(new(atomic.Int64), ""))
	c.start()
	response, body := c.do(c.request(http.MethodGet, "/v2/quay.io/a/blobs/"+d, http.Header{"Range": {"bytes=1-2,5-7"}}))
	require.Equal(t, http.StatusPartialContent, response.StatusCode)
	_, params, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for _, want := range []string{"12", "567"} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		content, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, want, string(content))
	}
	assert.Equal(t, int64(len(body)), c.records(1)[0].Bytes)
}

func TestHandoffKeepsTheWorkersTypeAndTag(t *testing.T) {
	c := newCache(t)
	d := c.blob(`{"schemaVersion":2}`)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Header().Set("Docker-Content-Digest", d.String())
		w.Header().Set("Cache-Status", accesslog.Stale.Header())
		w.Header().Set("X-Accel-Redirect", d.String())
	})
	c.start()
	response, body := c.get("/v2/quay.io/a/manifests/latest")
	assert.Equal(t, `{"schemaVersion":2}`, body)
	assert.Equal(t, "application/vnd.oci.image.index.v1+json", response.Header.Get("Content-Type"))
	record := c.records(1)[0]
	assert.Equal(t, "latest", record.Reference)
	assert.Equal(t, d.String(), record.Digest)
	assert.Equal(t, accesslog.Stale, record.Cache)
}

func TestEvictedBlobIsStreamedByTheWorker(t *testing.T) {
	c := newCache(t)
	d := digest.FromString("gone").String()
	var streamed atomic.Int64
	c.worker("quay.io", handsOff(&streamed, "gone"))
	c.start()
	response, body := c.get("/v2/quay.io/a/blobs/" + d)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "gone", body)
	assert.Equal(t, accesslog.Miss.Header(), response.Header.Get("Cache-Status"))
	assert.Equal(t, int64(1), streamed.Load())
}

func TestEvictionNeverFailsAPull(t *testing.T) {
	const content = "here today, gone tomorrow"
	c := newCache(t)
	d := c.blob(content)
	c.worker("quay.io", handsOff(new(atomic.Int64), content))
	c.start()
	stop := make(chan struct{})
	path := c.store.BlobPath(d)
	var evictor sync.WaitGroup
	evictor.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				assert.NoError(t, os.Rename(path, path+".away"))
				assert.NoError(t, os.Rename(path+".away", path))
			}
		}
	})
	for range 300 {
		response, body := c.get("/v2/quay.io/a/blobs/" + d.String())
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, content, body)
	}
	close(stop)
	evictor.Wait()
}

func TestHandoffOfWhatIsNoBlobEndsAsAnError(t *testing.T) {
	c := newCache(t)
	secret := filepath.Join(c.dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("root:x"), 0o600))
	for name, target := range map[string]string{
		"a path": secret, "a climb": "sha256:../../../../../../../secret", "a missing blob": someDigest,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Accel-Redirect", target) })
			c.start()
			response, body := c.get("/v2/quay.io/a/blobs/" + someDigest)
			assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode, "never an empty 200")
			requireError(t, body, errcode.ErrorCodeUnavailable, "quay.io")
			assert.Empty(t, response.Header.Get("X-Accel-Redirect"))
		})
	}
}

// A blob that turns out shorter than it was when the answer began.
func TestShrunkFileCutsTheConnection(t *testing.T) {
	c := newCache(t)
	content := strings.Repeat("x", 64<<20) // more than sockets buffer
	d := c.blob(content)
	c.worker("quay.io", handsOff(new(atomic.Int64), ""))
	c.start()
	response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/blobs/"+d.String(), nil))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.NoError(t, os.Truncate(c.store.BlobPath(d), 10))
	_, err = io.Copy(io.Discard, response.Body)
	require.Error(t, err)
	record := c.records(1)[0]
	assert.Less(t, record.Bytes, int64(len(content)))
}

// fileWatcher is a listener whose connections note when net/http hands them a
// file, which is what makes the kernel send it.
type fileWatcher struct {
	net.Listener
	files atomic.Int64
}

func (l *fileWatcher) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not TCP")
	}
	return watchedConn{tcp, l}, nil
}

type watchedConn struct {
	*net.TCPConn
	listener *fileWatcher
}

func (c watchedConn) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			c.listener.files.Add(1)
		}
	}
	return c.TCPConn.ReadFrom(src)
}

func TestPlainHandoffIsSendfile(t *testing.T) {
	c := newCache(t)
	watcher := &fileWatcher{Listener: c.listener}
	c.listener = watcher
	d := c.blob(strings.Repeat("x", 1<<20)).String()
	c.worker("quay.io", handsOff(new(atomic.Int64), ""))
	c.start()
	_, body := c.get("/v2/quay.io/a/blobs/" + d)
	assert.Len(t, body, 1<<20)
	assert.Equal(t, int64(1), watcher.files.Load())
	_, body = c.do(c.request(http.MethodGet, "/v2/quay.io/a/blobs/"+d, http.Header{"Range": {"bytes=100000-"}}))
	assert.Len(t, body, 1<<20-100000)
	assert.Equal(t, int64(2), watcher.files.Load(), "ranges, too")
	records := c.records(2)
	assert.Equal(t, int64(1<<20), records[0].Bytes)
	assert.Equal(t, int64(1<<20-100000), records[1].Bytes)
}
