package pullthrough

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func (b *bench) getReferrers(method, remote string, d digest.Digest, artifactType string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	target := "/v2/quay.io/" + remote + "/referrers/" + d.String()
	if artifactType != "" {
		target += "?artifactType=" + url.QueryEscape(artifactType)
	}
	b.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func cacheOf(w *httptest.ResponseRecorder) accesslog.CacheStatus {
	return accesslog.ParseHeader(w.Header().Get(accesslog.HeaderName))
}

const someReferrers = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","unknown":{"kept":true},"manifests":[` +
	`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aaaa","size":1,"artifactType":"application/sig","annotations":{"a":"b"}},` +
	`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:bbbb","size":2,"artifactType":"application/sbom"}]}`

func TestReferrers(t *testing.T) {
	b := newBench(t)
	d := digest.FromString("subject")
	b.up.referrers["org/app@"+d.String()] = []byte(someReferrers)

	w := b.getReferrers("GET", "org/app", d, "")
	require.Equal(t, 200, w.Code)
	assert.Equal(t, someReferrers, w.Body.String())
	assert.Equal(t, v1.MediaTypeImageIndex, w.Header().Get("Content-Type"))
	assert.Empty(t, w.Header().Get("OCI-Filters-Applied"))
	assert.Equal(t, accesslog.Miss, cacheOf(w))
	assert.Equal(t, accesslog.Revalidated, cacheOf(b.getReferrers("GET", "org/app", d, "")))

	w = b.getReferrers("GET", "org/app", d, "application/sig")
	require.Equal(t, 200, w.Code)
	assert.Equal(t, "artifactType", w.Header().Get("OCI-Filters-Applied"))
	var index struct {
		Unknown   map[string]bool
		Manifests []v1.Descriptor
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &index))
	require.Len(t, index.Manifests, 1)
	assert.Equal(t, digest.Digest("sha256:aaaa"), index.Manifests[0].Digest)
	assert.Equal(t, map[string]string{"a": "b"}, index.Manifests[0].Annotations)
	assert.True(t, index.Unknown["kept"])

	w = b.getReferrers("GET", "org/app", d, "application/none")
	assert.Contains(t, w.Body.String(), `"manifests":[]`)

	w = b.getReferrers("HEAD", "org/app", d, "")
	assert.Equal(t, 200, w.Code)
	assert.Empty(t, w.Body.String())
	assert.Equal(t, strconv.Itoa(len(someReferrers)), w.Header().Get("Content-Length"))
}

func TestReferrersWhileTheUpstreamFails(t *testing.T) {
	b := newBench(t)
	d := digest.FromString("subject")
	b.up.referrers["org/app@"+d.String()] = []byte(someReferrers)
	require.Equal(t, 200, b.getReferrers("GET", "org/app", d, "").Code)

	b.up.failing(upErr(upstream.Unavailable), "referrers")
	w := b.getReferrers("GET", "org/app", d, "")
	require.Equal(t, 200, w.Code)
	assert.Equal(t, accesslog.Stale, cacheOf(w))
	assert.Equal(t, someReferrers, w.Body.String())

	w = b.getReferrers("GET", "org/other", d, "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, accesslog.Failed, cacheOf(w))

	off := benchIn(t, b.dir, newFake(), func(o *Options) { o.Offline = true })
	w = off.getReferrers("GET", "org/app", d, "")
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, accesslog.Hit, cacheOf(w))
	w = off.getReferrers("GET", "org/other", d, "")
	assert.Equal(t, 404, w.Code)
	assert.Contains(t, w.Body.String(), "OFFLINE")
	assert.Empty(t, off.up.calls)
}

func TestUpstreamWithoutReferrers(t *testing.T) {
	for name, answer := range map[string]func(*fakeUpstream, digest.Digest){
		"404":          func(*fakeUpstream, digest.Digest) {},
		"a web page":   func(f *fakeUpstream, d digest.Digest) { f.referrers["org/app@"+d.String()] = []byte("<html>") },
		"other JSON":   func(f *fakeUpstream, d digest.Digest) { f.referrers["org/app@"+d.String()] = []byte(`{"a":1}`) },
		"its nonsense": func(f *fakeUpstream, _ digest.Digest) { f.fail["referrers"] = upErr(upstream.Invalid) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				d := digest.FromString("subject")
				answer(b.up, d)
				for range 3 {
					w := b.getReferrers("GET", "org/app", d, "")
					assert.Equal(t, 404, w.Code)
					assert.Contains(t, w.Body.String(), "quay.io")
				}
				assert.Equal(t, 1, b.up.count("referrers"), "remembered")
				time.Sleep(10 * time.Second)
				b.getReferrers("GET", "org/app", d, "")
				assert.Equal(t, 2, b.up.count("referrers"), "but not for long")
			})
		})
	}
}

func TestManyClientsAreOneListOfReferrers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, maxTagAge(time.Minute))
		d := digest.FromString("subject")
		b.up.referrers["org/app@"+d.String()] = []byte(someReferrers)
		release := b.up.hanging()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.Equal(t, 200, b.getReferrers("GET", "org/app", d, "").Code) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		time.Sleep(59 * time.Second)
		w := b.getReferrers("GET", "org/app", d, "")
		assert.Equal(t, accesslog.Hit, cacheOf(w))
		assert.Equal(t, "max-age=1", w.Header().Get("Cache-Control"))
		assert.Equal(t, 1, b.up.count("referrers"))
	})
}

func TestHungUpstreamLeavesTheKnownReferrers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, staleFor(time.Hour))
		d := digest.FromString("subject")
		b.up.referrers["org/app@"+d.String()] = []byte(someReferrers)
		require.Equal(t, 200, b.getReferrers("GET", "org/app", d, "").Code)
		b.up.hanging()
		start := time.Now()
		assert.Equal(t, accesslog.Stale, cacheOf(b.getReferrers("GET", "org/app", d, "")))
		assert.Equal(t, patience, time.Since(start))

		b.circuit.failed(errSlow, 0)
		start = time.Now()
		assert.Equal(t, accesslog.Stale, cacheOf(b.getReferrers("GET", "org/app", d, "")))
		assert.Zero(t, time.Since(start), "an open circuit is not waited for")

		time.Sleep(time.Hour)
		assert.Equal(t, http.StatusServiceUnavailable, b.getReferrers("GET", "org/app", d, "").Code, "too old")
	})
}
