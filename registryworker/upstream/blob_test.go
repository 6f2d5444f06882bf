package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	blobContent = bytes.Repeat([]byte("0123456789"), 10_000)
	blobDigest  = digest.FromBytes(blobContent)
)

// serveBlob honours ranges, as net/http does.
func serveBlob(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blobContent))
}

func TestOpenBlob(t *testing.T) {
	size := int64(len(blobContent))
	for name, test := range map[string]struct {
		handler     http.HandlerFunc
		offset, end int64
		header      string // Range as sent
		want        []byte
		blob        Blob
	}{
		"whole":                   {serveBlob, 0, -1, "", blobContent, Blob{Size: size}},
		"from the middle":         {serveBlob, 70_000, -1, "bytes=70000-", blobContent[70_000:], Blob{Offset: 70_000, Size: size, Ranged: true}},
		"a part":                  {serveBlob, 10, 20, "bytes=10-19", blobContent[10:20], Blob{Offset: 10, Size: size, Ranged: true}},
		"the first byte":          {serveBlob, 0, 1, "bytes=0-0", blobContent[:1], Blob{Size: size, Ranged: true}},
		"past the end":            {serveBlob, size - 5, size + 5, fmt.Sprintf("bytes=%d-%d", size-5, size+4), blobContent[size-5:], Blob{Offset: size - 5, Size: size, Ranged: true}},
		"range ignored":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blobContent[:100]) }, 50, 60, "bytes=50-59", blobContent[:100], Blob{Size: 100}},
		"length unknown":          {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); _, _ = w.Write(blobContent) }, 0, -1, "", blobContent, Blob{Size: -1}},
		"size unknown":            {partial("bytes 5-9/*", blobContent[5:10]), 5, 10, "bytes=5-9", blobContent[5:10], Blob{Offset: 5, Size: -1, Ranged: true}},
		"less than was asked":     {partial("bytes 5-9/100", blobContent[5:10]), 5, 50, "bytes=5-49", blobContent[5:10], Blob{Offset: 5, Size: 100, Ranged: true}},
		"chunked, more than said": {partialChunked("bytes 5-9/100", blobContent[5:50]), 5, 10, "bytes=5-9", blobContent[5:10], Blob{Offset: 5, Size: 100, Ranged: true}},
		"empty":                   {func(http.ResponseWriter, *http.Request) {}, 0, -1, "", nil, Blob{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.handler)
			b, err := newClient(t, s.URL).OpenBlob(t.Context(), "org/app", blobDigest, test.offset, test.end)
			require.NoError(t, err)
			got, err := io.ReadAll(b.Body)
			require.NoError(t, err)
			require.NoError(t, b.Body.Close())
			require.NoError(t, b.Body.Close(), "a second Close is harmless")
			assert.True(t, bytes.Equal(test.want, got), "%d bytes came, %d wanted", len(got), len(test.want))
			b.Body = nil
			assert.Equal(t, test.blob, *b)
			assert.Equal(t, test.header, s.requests()[0].Header.Get("Range"))
			assert.Equal(t, "identity", s.requests()[0].Header.Get("Accept-Encoding"))
		})
	}
}

func partial(contentRange string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(content)
	}
}

func partialChunked(contentRange string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.WriteHeader(http.StatusPartialContent)
		w.(http.Flusher).Flush()
		_, _ = w.Write(content)
	}
}

func TestOpenBlobRefusesWrongRanges(t *testing.T) {
	for name, test := range map[string]struct {
		handler     http.HandlerFunc
		offset, end int64
	}{
		"another start":    {partial("bytes 4-9/100", blobContent[4:10]), 5, 10},
		"later end":        {partial("bytes 5-10/100", blobContent[5:11]), 5, 10},
		"no Content-Range": {partial("", blobContent[5:10]), 5, 10},
		"malformed":        {partial("bytes 5-9", blobContent[5:10]), 5, 10},
		"multipart":        {partial("", []byte("--x")), 5, 10},
		"other length":     {partial("bytes 5-9/100", blobContent[5:15]), 5, 10},
		"not asked for":    {partial("bytes 0-9/100", blobContent[0:10]), 0, -1},
		"unsatisfiable":    {serveBlob, int64(len(blobContent)), -1},
		"204":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 0, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.handler)
			_, err := newClient(t, s.URL).OpenBlob(t.Context(), "org/app", blobDigest, test.offset, test.end)
			requireKind(t, Invalid, err)
		})
	}
	c := newClient(t, "http://127.0.0.1:1")
	for _, r := range [][2]int64{{-1, -1}, {5, 5}, {5, 4}, {0, 0}} {
		_, err := c.OpenBlob(t.Context(), "org/app", blobDigest, r[0], r[1])
		requireKind(t, Invalid, err)
		assert.ErrorContains(t, err, "not a range")
	}
}

func TestBlobEndsEarly(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"short body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(blobContent[:10])
		},
		"dropped": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(blobContent[:10])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"short range, chunked": partialChunked("bytes 5-99/1000", blobContent[5:10]),
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(blobContent[:10])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			idle := time.Minute
			offset := int64(0)
			switch name {
			case "stalled":
				idle = 20 * time.Millisecond
			case "short range, chunked":
				offset = 5
			}
			s := newServer(t, handler)
			c := newClient(t, s.URL, withTimeouts(func(o *Timeouts) { o.IdleBody = idle }))
			b, err := c.OpenBlob(t.Context(), "org/app", blobDigest, offset, -1)
			require.NoError(t, err)
			defer b.Body.Close()
			_, err = io.ReadAll(b.Body)
			requireKind(t, Unavailable, err)
			if name == "stalled" {
				assert.ErrorContains(t, err, "the transfer stalled: no byte for 20ms")
			}
		})
	}
}

func TestBlobEndsWithItsContext(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(blobContent[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	b, err := newClient(t, s.URL).OpenBlob(ctx, "org/app", blobDigest, 0, -1)
	require.NoError(t, err)
	defer b.Body.Close()
	_, err = io.ReadFull(b.Body, make([]byte, 10))
	require.NoError(t, err)
	cancel()
	_, err = b.Body.Read(make([]byte, 1))
	requireKind(t, Unavailable, err)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestStatBlob(t *testing.T) {
	t.Run("size", func(t *testing.T) {
		s := newServer(t, serveBlob)
		size, err := newClient(t, s.URL).StatBlob(t.Context(), "org/app", blobDigest)
		require.NoError(t, err)
		assert.EqualValues(t, len(blobContent), size)
		assert.Equal(t, []string{"HEAD /v2/org/app/blobs/" + blobDigest.String()}, s.lines())
	})
	t.Run("unknown size", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() })
		size, err := newClient(t, s.URL).StatBlob(t.Context(), "org/app", blobDigest)
		require.NoError(t, err)
		assert.EqualValues(t, -1, size)
	})
	t.Run("not found", func(t *testing.T) {
		s := newServer(t, http.NotFound)
		_, err := newClient(t, s.URL).StatBlob(t.Context(), "org/app", blobDigest)
		requireKind(t, NotFound, err)
	})
	t.Run("denied", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		_, err := newClient(t, s.URL).StatBlob(t.Context(), "org/app", blobDigest)
		requireKind(t, Denied, err)
		assert.Len(t, s.lines(), 1, "the registry's own no is final")
	})
	t.Run("address signed for GET only", func(t *testing.T) {
		storage := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			serveBlob(w, r)
		})
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, storage.URL+"/x", http.StatusTemporaryRedirect)
		})
		size, err := newClient(t, s.URL).StatBlob(t.Context(), "org/app", blobDigest)
		require.NoError(t, err)
		assert.EqualValues(t, len(blobContent), size)
	})
}

// TestLane holds that no more than so many requests run at once, that waiting
// ends with the context, and that a closed body makes room.
func TestLane(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(blobContent[:1])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, s.URL)
	open := func(ctx context.Context) (*Blob, error) { return c.OpenBlob(ctx, "org/app", blobDigest, 0, -1) }
	var held []*Blob
	for range maxRequests {
		b, err := open(t.Context())
		require.NoError(t, err)
		held = append(held, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(ctx)
	requireKind(t, Unavailable, err)
	assert.ErrorContains(t, err, "waiting for one of 32 requests")

	// What is no blob does not wait for them.
	_, err = c.ResolveManifest(t.Context(), "org/app", testDigest.String())
	require.NoError(t, err)

	require.NoError(t, held[0].Body.Close())
	held[0], err = open(t.Context())
	require.NoError(t, err)
	for _, b := range held {
		require.NoError(t, b.Body.Close())
	}
	assert.Empty(t, c.blobs.slots)
}

// TestConnectionsAreReused holds that errors and small answers leave their
// connections usable.
func TestConnectionsAreReused(t *testing.T) {
	var remote []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		remote = append(remote, r.RemoteAddr)
		if len(remote)%2 == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(make([]byte, 50_000))
			return
		}
		serveBlob(w, r)
	})
	c := newClient(t, s.URL)
	for range 3 {
		_, err := c.OpenBlob(t.Context(), "org/app", blobDigest, 0, -1)
		requireKind(t, Unavailable, err)
		b, err := c.OpenBlob(t.Context(), "org/app", blobDigest, 0, -1)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, b.Body)
		require.NoError(t, err)
		require.NoError(t, b.Body.Close())
	}
	for _, addr := range remote {
		assert.Equal(t, remote[0], addr)
	}
}
