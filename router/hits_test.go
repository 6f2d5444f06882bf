package router

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/accesslog"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// manifest is a worker that answers with a manifest and this Cache-Control.
func manifest(body, cacheControl string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{
			"Content-Type": manifestType, "Docker-Content-Digest": someDigest, "Etag": `"` + someDigest + `"`,
			"Cache-Control": cacheControl, "Cache-Status": accesslog.Revalidated.Header(),
		} {
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, body)
	}
}

func TestFreshManifestIsGivenAgain(t *testing.T) {
	c := newCache(t)
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, manifest("0123456789", "max-age=60")))
	c.start()
	const path = "/v2/q/a/manifests/1"
	first, body := c.get(path)
	assert.Equal(t, "0123456789", body)
	assert.Equal(t, accesslog.Revalidated.Header(), first.Header.Get("Cache-Status"))
	assert.Empty(t, first.Header.Get("Age"))

	for _, tt := range []struct {
		name, path string
		method     string
		header     http.Header
		status     int
		body       string
	}{
		{name: "get", status: 200, body: "0123456789"},
		{name: "by another name", path: "/v2/a/manifests/1?ns=quay.io&x=y", status: 200, body: "0123456789"},
		{name: "head", method: http.MethodHead, status: 200},
		{name: "any Accept", header: http.Header{"Accept": {"application/nonsense"}}, status: 200, body: "0123456789"},
		{name: "known already", header: http.Header{"If-None-Match": {`"` + someDigest + `"`}}, status: 304},
		{name: "another known", header: http.Header{"If-None-Match": {`"x"`}}, status: 200, body: "0123456789"},
		{name: "range", header: http.Header{"Range": {"bytes=2-3"}}, status: 206, body: "23"},
		{name: "head of a range", method: http.MethodHead, header: http.Header{"Range": {"bytes=2-3"}}, status: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path == "" {
				tt.path = path
			}
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			response, body := c.do(c.request(tt.method, tt.path, tt.header))
			assert.Equal(t, tt.status, response.StatusCode)
			assert.Equal(t, tt.body, body)
			assert.Equal(t, accesslog.Hit.Header(), response.Header.Get("Cache-Status"))
			assert.Equal(t, someDigest, response.Header.Get("Docker-Content-Digest"))
			assert.Equal(t, `"`+someDigest+`"`, response.Header.Get("Etag"))
			assert.Equal(t, "max-age=60", response.Header.Get("Cache-Control"))
			seconds, err := strconv.Atoi(response.Header.Get("Age"))
			assert.NoError(t, err)
			assert.Less(t, seconds, 60)
			if tt.status < 300 {
				assert.Equal(t, manifestType, response.Header.Get("Content-Type"))
			}
			if tt.method == http.MethodHead && tt.status == 200 {
				assert.Equal(t, int64(10), response.ContentLength)
			}
		})
	}
	assert.Equal(t, int64(1), asked.Load())
	records := c.records(9)
	assert.Equal(t, accesslog.Revalidated, records[0].Cache)
	for _, r := range records[1:] {
		assert.Equal(t, accesslog.Hit, r.Cache)
		assert.Equal(t, someDigest, r.Digest)
		assert.Equal(t, "quay.io/a", r.Repository)
	}
	assert.Equal(t, int64(10), records[1].Bytes)
}

func TestWhatMayNotBeKeptIsAskedAgain(t *testing.T) {
	for _, cacheControl := range []string{"", "no-cache", "no-store", "max-age=0"} {
		t.Run(cacheControl, func(t *testing.T) {
			c := newCache(t)
			var asked atomic.Int64
			c.worker("quay.io", counter(&asked, manifest("{}", cacheControl)))
			c.start()
			for range 3 {
				response, body := c.get("/v2/quay.io/a/manifests/1")
				assert.Equal(t, "{}", body)
				assert.Equal(t, accesslog.Revalidated.Header(), response.Header.Get("Cache-Status"))
			}
			assert.Equal(t, int64(3), asked.Load())
		})
	}
}

func TestReferrersAreKeptByTheirQuery(t *testing.T) {
	c := newCache(t)
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		_, _ = io.WriteString(w, r.URL.RawQuery)
	}))
	c.start()
	for range 2 {
		for _, query := range []string{"artifactType=a", "artifactType=b", ""} {
			response, body := c.get("/v2/quay.io/a/referrers/" + someDigest + "?" + query)
			assert.Equal(t, query, body)
			assert.Equal(t, "artifactType", response.Header.Get("Oci-Filters-Applied"))
		}
	}
	assert.Equal(t, int64(3), asked.Load())
}

// places is a worker that has every blob in the store, for ever.
func places(asked *atomic.Int64) http.HandlerFunc {
	handOff := handsOff(new(atomic.Int64), "streamed")
	return counter(asked, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
		handOff(w, r)
	})
}

func TestBlobsPlaceIsRemembered(t *testing.T) {
	c := newCache(t)
	const content = "0123456789"
	d := c.blob(content)
	var asked atomic.Int64
	c.worker("quay.io", places(&asked))
	c.start()
	path := "/v2/quay.io/a/blobs/" + d.String()
	for range 3 {
		response, body := c.get(path)
		assert.Equal(t, content, body)
		assert.Equal(t, accesslog.Hit.Header(), response.Header.Get("Cache-Status"))
		assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
		assert.Equal(t, d.String(), response.Header.Get("Docker-Content-Digest"))
		assert.Empty(t, response.Header.Get("X-Accel-Redirect"))
	}
	response, body := c.do(c.request(http.MethodGet, path, http.Header{"Range": {"bytes=5-"}}))
	assert.Equal(t, "56789", body)
	assert.Equal(t, "bytes 5-9/10", response.Header.Get("Content-Range"))
	response, _ = c.do(c.request(http.MethodHead, path, nil))
	assert.Equal(t, int64(10), response.ContentLength)
	assert.Equal(t, int64(1), asked.Load())

	_, _ = c.get("/v2/quay.io/b/blobs/" + d.String())
	assert.Equal(t, int64(2), asked.Load(), "what one repository may serve, another may not")
}

func TestEvictedBlobIsAskedForAnew(t *testing.T) {
	c := newCache(t)
	d := c.blob("stored")
	var asked atomic.Int64
	c.worker("quay.io", places(&asked))
	c.start()
	path := "/v2/quay.io/a/blobs/" + d.String()
	_, body := c.get(path)
	require.Equal(t, "stored", body)
	require.NoError(t, os.Remove(c.store.BlobPath(d)))
	for range 2 {
		_, body = c.get(path)
		assert.Equal(t, "streamed", body)
	}
	assert.Equal(t, int64(5), asked.Load(), "each time handed off and refused")
	c.blob("stored")
	for range 2 {
		_, body = c.get(path)
		assert.Equal(t, "stored", body)
	}
	assert.Equal(t, int64(6), asked.Load())
}

func TestWorkersWordEndsWithIt(t *testing.T) {
	c := newCache(t)
	stop := c.worker("quay.io", manifest("before", "max-age=60"))
	c.start()
	_, body := c.get("/v2/quay.io/a/manifests/1")
	require.Equal(t, "before", body)
	stop()
	c.worker("quay.io", manifest("after", "max-age=60"))
	c.eventually(func() bool {
		_, body := c.get("/v2/quay.io/a/manifests/1")
		return body == "after"
	})
}

func TestWorkersWordEndsWithItsRoute(t *testing.T) {
	c := newCache(t)
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, manifest("before", "max-age=60")))
	c.worker("new", manifest("after", "max-age=60"))
	c.start()
	_, body := c.get("/v2/quay.io/a/manifests/1")
	require.Equal(t, "before", body)
	c.update(func(s *config.Router) {
		moved := c.route("new")
		moved.Path, moved.Name = "quay.io", "quay.io"
		s.Routes = []config.Route{moved}
	})
	_, body = c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, "after", body)
	assert.Equal(t, int64(1), asked.Load())
}

func TestHitsEnd(t *testing.T) {
	h, u, now := newHits(), &upstream{}, time.Now()
	h.keep("a", &hit{from: u, until: now.Add(time.Second)})
	assert.NotNil(t, h.get("a", u, now))
	assert.Nil(t, h.get("a", &upstream{}, now), "of another worker")
	h.keep("a", &hit{from: u, until: now.Add(time.Second)})
	assert.Nil(t, h.get("a", u, now.Add(time.Second)))
	assert.Nil(t, h.get("a", u, now), "and is gone")
	h.keep("a", &hit{from: u, until: now.Add(time.Second)})
	u.term.Add(1)
	assert.Nil(t, h.get("a", u, now))
	assert.Zero(t, h.bytes)
}

func TestHitsAreBounded(t *testing.T) {
	h, u, now := newHits(), &upstream{}, time.Now()
	later := now.Add(time.Minute)
	put := func(key string, size int) { h.keep(key, &hit{from: u, until: later, body: make([]byte, size)}) }
	put("giant", maxHitBody+1)
	assert.Nil(t, h.get("giant", u, now))
	for i := range 100 {
		put(fmt.Sprint("large", i), maxHitBody)
		assert.LessOrEqual(t, h.bytes, maxHitBytes)
		assert.NotNil(t, h.get("large0", u, now) != nil || i > 0, "what is used stays")
	}
	assert.NotNil(t, h.get("large0", u, now))
	assert.Nil(t, h.get("large1", u, now))
	for i := range 20_000 {
		put(strings.Repeat("k", i%10)+fmt.Sprint(i), 0)
		assert.LessOrEqual(t, h.bytes, maxHitBytes)
	}
	assert.Nil(t, h.get("large0", u, now))
	put("1", 10)
	put("1", 20)
	total := 0
	for _, key := range h.lru.Keys() {
		e, _ := h.lru.Peek(key)
		total += e.cost(key)
	}
	assert.Equal(t, total, h.bytes)
}
