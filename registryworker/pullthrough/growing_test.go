package pullthrough

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/fill"
)

// large is a blob whose bytes are sent by the router.
var large = strings.Repeat("0123456789abcdef", 40_000)

// followed returns what a router makes of an answer, and how many of the bytes
// came inline.
func (b *bench) followed(w *httptest.ResponseRecorder) (body string, inline int64) {
	b.t.Helper()
	g, err := images.ParseGrowing(w.Header().Get("X-Accel-Growing"))
	require.NoError(b.t, err)
	assert.Empty(b.t, w.Header().Get("Content-Length"), "that is of the bytes, not of the marks")
	file, err := b.store.OpenGrowing(g)
	require.NoError(b.t, err)
	defer func() { _ = file.Close() }()
	var got bytes.Buffer
	marks := bufio.NewReader(w.Body)
	for {
		m, err := images.ReadMark(marks)
		if errors.Is(err, io.EOF) {
			require.EqualValues(b.t, g.Length, got.Len())
			return got.String(), inline
		}
		require.NoError(b.t, err)
		var from io.Reader = io.NewSectionReader(file, g.Offset+int64(got.Len()), m.N)
		if m.Inline {
			from = marks
			inline += m.N
		}
		_, err = io.CopyN(&got, from, m.N)
		require.NoError(b.t, err)
	}
}

func TestLargeColdBlobIsMarked(t *testing.T) {
	for _, c := range []struct {
		rng, contentRange string
		status, from, to  int
	}{
		{"", "", 200, 0, len(large)},
		{"bytes=100-", "bytes 100-639999/640000", 206, 100, len(large)},
		{"bytes=100000-400000", "bytes 100000-400000/640000", 206, 100_000, 400_001},
		{"bytes=-200000", "bytes 440000-639999/640000", 206, 440_000, len(large)},
		{"bytes=0-640000", "bytes 0-639999/640000", 206, 0, len(large)},
	} {
		t.Run(c.rng, func(t *testing.T) {
			b := newBench(t)
			desc := b.up.addBlob("org/app", large)
			req := get("X-Accel-Growing", "1")
			if c.rng != "" {
				req.Header.Set("Range", c.rng)
			}
			w, err := b.serveBlob("org/app", desc.Digest, req)
			require.NoError(t, err)
			assert.Equal(t, c.status, w.Code)
			assert.Equal(t, c.contentRange, w.Header().Get("Content-Range"))
			assert.Equal(t, accesslog.Miss, cacheOf(w))
			assert.Equal(t, `"`+desc.Digest.String()+`"`, w.Header().Get("ETag"))
			body, inline := b.followed(w)
			assert.True(t, large[c.from:c.to] == body, "%d bytes", len(body))
			assert.Zero(t, inline)
			assert.Equal(t, 1, b.up.count("open"))
		})
	}
}

// What is not one long run of bytes is sent from here.
func TestColdBlobsThatAreNotMarked(t *testing.T) {
	for name, header := range map[string][]string{
		"not asked for": {},
		"several":       {"X-Accel-Growing", "1", "Range", "bytes=0-200000,300000-500000"},
		"short":         {"X-Accel-Growing", "1", "Range", "bytes=5-1000"},
		"no such range": {"X-Accel-Growing", "1", "Range", "bytes=640000-"},
		"known":         {"X-Accel-Growing", "1", "If-None-Match", "*"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			desc := b.up.addBlob("org/app", large)
			w, err := b.serveBlob("org/app", desc.Digest, get(header...))
			require.NoError(t, err)
			assert.Empty(t, w.Header().Get("X-Accel-Growing"))
			switch name {
			case "not asked for":
				assert.True(t, large == w.Body.String())
				assert.Equal(t, "640000", w.Header().Get("Content-Length"))
			case "several":
				assert.Equal(t, 206, w.Code)
				assert.Contains(t, w.Body.String(), large[300_000:500_001])
			case "short":
				assert.Equal(t, large[5:1001], w.Body.String())
				assert.Equal(t, "996", w.Header().Get("Content-Length"))
			case "no such range":
				assert.Equal(t, 416, w.Code)
				assert.Equal(t, "bytes */640000", w.Header().Get("Content-Range"))
			case "known":
				assert.Equal(t, 304, w.Code)
				assert.Empty(t, w.Body.String())
			}
		})
	}
}

// A store that fails takes nothing away from a pull. Before the first byte all
// comes as usual.
func TestNoMarksWithoutAStore(t *testing.T) {
	b := newBench(t)
	b.breakStore("fills")
	desc := b.up.addBlob("org/app", large)
	w, err := b.serveBlob("org/app", desc.Digest, get("X-Accel-Growing", "1"))
	require.NoError(t, err)
	assert.Empty(t, w.Header().Get("X-Accel-Growing"))
	assert.Equal(t, "640000", w.Header().Get("Content-Length"))
	assert.True(t, large == w.Body.String())
	assert.Equal(t, accesslog.Passed, cacheOf(w))
}

// halfStored is a blob of which the store took one half, a third of that first.
type halfStored struct {
	*strings.Reader
	b *bench
	// end is the error after the bytes that can be read.
	end error
}

func (h *halfStored) pos() int64 { return h.Size() - int64(h.Len()) }

func (h *halfStored) Grant(limit int64) (int64, error) {
	half := h.Size() / 2
	n := min(limit, half-h.pos(), half/3)
	if n <= 0 {
		return 0, fill.ErrNotInFile
	}
	_, err := h.Seek(n, io.SeekCurrent)
	return n, err
}

func (h *halfStored) Read(p []byte) (int, error) {
	if h.end != nil && h.pos() >= h.Size()*3/4 {
		return 0, h.end
	}
	return h.Reader.Read(p)
}

func (h *halfStored) Growing(offset, length int64) (images.Growing, error) {
	d := digest.FromString(large)
	if err := os.MkdirAll(h.b.store.FillDir(d), 0o755); err != nil {
		return images.Growing{}, err
	}
	f, err := os.Create(filepath.Join(h.b.store.FillDir(d), "data"))
	if err != nil {
		return images.Growing{}, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(large[:len(large)/2]); err != nil {
		return images.Growing{}, err
	}
	return images.GrowingFile(f, d, offset, length)
}

// Midway, the bytes come among the marks.
func TestInlineAfterMarks(t *testing.T) {
	for _, rng := range []string{"", "bytes=100-599999"} {
		b := newBench(t)
		w, req := httptest.NewRecorder(), get()
		want := large
		if rng != "" {
			req.Header.Set("Range", rng)
			want = large[100:600_000]
		}
		serveGrowing(w, req, &halfStored{Reader: strings.NewReader(large), b: b})
		body, inline := b.followed(w)
		assert.True(t, want == body, "%d bytes", len(body))
		assert.EqualValues(t, min(len(large), 100+len(want))-len(large)/2, inline)
	}
}

// Bytes that don't come are never made up for by a clean end.
// notingWriter tells when an answer has begun.
type notingWriter struct {
	*httptest.ResponseRecorder
	once  sync.Once
	begun chan struct{}
}

func (w *notingWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	return w.ResponseRecorder.Write(p)
}

// after has no bytes, and ends once the channel is closed.
type after <-chan struct{}

func (a after) Read([]byte) (int, error) {
	<-a
	return 0, io.EOF
}

func TestMarksThatBreakOffAreAborted(t *testing.T) {
	for _, end := range []error{io.ErrUnexpectedEOF, io.EOF} {
		b := newBench(t)
		w := httptest.NewRecorder()
		require.PanicsWithValue(t, http.ErrAbortHandler, func() {
			serveGrowing(w, get(), &halfStored{Reader: strings.NewReader(large), b: b, end: end})
		})
		assert.NotEmpty(t, w.Header().Get("X-Accel-Growing"))
	}
	b := newBench(t)
	desc := b.up.addBlob("org/app", large)
	// Before anything was sent, there would be a proper answer instead.
	w := &notingWriter{ResponseRecorder: httptest.NewRecorder(), begun: make(chan struct{})}
	b.up.body = func(content []byte) io.ReadCloser {
		wrong := strings.Replace(string(content), "0", "1", 1)
		half := len(wrong) / 2
		return io.NopCloser(io.MultiReader(strings.NewReader(wrong[:half]), after(w.begun), strings.NewReader(wrong[half:])))
	}
	ctx := withExchange(t.Context(), &exchange{w: w})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		_ = b.repo("org/app").Blobs(ctx).ServeBlob(ctx, w, get("X-Accel-Growing", "1").WithContext(ctx), desc.Digest)
	})
	var marked int64
	for marks := bufio.NewReader(w.Body); ; {
		m, err := images.ReadMark(marks)
		if err != nil {
			break
		}
		marked += m.N
	}
	assert.Less(t, marked, int64(len(large)), "wrong bytes")
}
