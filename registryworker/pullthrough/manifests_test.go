package pullthrough

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func TestManifestsLeaveAsTheyCame(t *testing.T) {
	const odd = "application/vnd.example.future.v7+json"
	cases := map[string]struct{ contentType, payload, want string }{
		"OCI index":                 {v1.MediaTypeImageIndex, `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`, v1.MediaTypeImageIndex},
		"without a mediaType field": {v1.MediaTypeImageManifest, `{"schemaVersion":2, "config":{}, "layers":[]}`, v1.MediaTypeImageManifest},
		"Docker list":               {images.MediaTypeDockerManifestList, `{"mediaType":"` + images.MediaTypeDockerManifestList + `","manifests":[]}`, images.MediaTypeDockerManifestList},
		"unknown":                   {odd, `{"what":"ever"}`, odd},
		"unknown, and no JSON":      {odd, "\x00not JSON\n", odd},
		"a type the content lacks":  {odd, `{"schemaVersion":2,"manifests":[]}`, odd},
		"parameters":                {v1.MediaTypeImageIndex + "; charset=utf-8", `{"manifests":[]}`, v1.MediaTypeImageIndex},
		"says nothing":              {"application/json", `{"manifests":[]}`, v1.MediaTypeImageIndex},
		"absent":                    {"", `{"mediaType":"` + odd + `"}`, odd},
		"nothing anywhere":          {"text/plain", `{}`, "application/octet-stream"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			d := b.up.addManifest("org/app", "", c.contentType, []byte(c.payload))
			for _, want := range []accesslog.CacheStatus{accesslog.Miss, accesslog.Hit} {
				a := b.byDigest("org/app", d)
				require.NoError(t, a.err)
				assert.Equal(t, want, a.cache)
				assert.Equal(t, c.want, a.mediaType)
				assert.Equal(t, c.payload, a.payload)
				assert.Equal(t, "max-age=31536000, immutable", a.cacheControl)
			}
			assert.Equal(t, 1, b.up.count("manifest"))
			assert.Zero(t, b.up.count("resolve"), "a digest needs no HEAD")
		})
	}
}

func TestSHA512(t *testing.T) {
	b := newBench(t)
	payload := []byte(`{"manifests":[]}`)
	d := digest.SHA512.FromBytes(payload)
	b.up.manifests["org/app@"+d.String()] = typed{v1.MediaTypeImageIndex, payload}
	require.NoError(t, b.byDigest("org/app", d).err)
	a := b.byDigest("org/app", d)
	require.NoError(t, a.err)
	assert.Equal(t, accesslog.Hit, a.cache)
}

func TestWrongBytesAreNeitherServedNorKept(t *testing.T) {
	b := newBench(t)
	d := digest.FromString("what was asked for")
	b.up.manifests["org/app@"+d.String()] = typed{v1.MediaTypeImageIndex, []byte("something else")}
	a := b.byDigest("org/app", d)
	codeIs(t, codeUpstreamInvalid, a.err)
	require.ErrorContains(t, a.err, "quay.io: get manifest org/app@"+d.String())
	_, err := b.store.StatBlob(d)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDigestIsNoPermission(t *testing.T) {
	b := newBench(t)
	payload := []byte(`{"manifests":[]}`)
	d := b.up.addManifest("org/private", "", v1.MediaTypeImageIndex, payload)
	require.NoError(t, b.byDigest("org/private", d).err)

	b.up.failing(upErr(upstream.Denied), "resolve", "manifest")
	codeIs(t, errcode.ErrorCodeDenied, b.byDigest("org/public", d).err)
	b.up.failing(nil, "resolve", "manifest")
	codeIs(t, errcode.ErrorCodeManifestUnknown, b.byDigest("org/public", d).err)
	assert.False(t, b.store.HasLink("quay.io/org/public", images.Manifest, d))

	// Once the upstream agrees, a HEAD is enough: GETs are rationed.
	gets := b.up.count("manifest")
	b.up.addManifest("org/public", "", v1.MediaTypeImageIndex, payload)
	a := b.byDigest("org/public", d)
	require.NoError(t, a.err)
	assert.Equal(t, accesslog.Revalidated, a.cache)
	assert.Equal(t, v1.MediaTypeImageIndex, a.mediaType)
	assert.Equal(t, gets, b.up.count("manifest"))
	assert.Equal(t, accesslog.Hit, b.byDigest("org/public", d).cache)
}

func TestSpoiltManifestIsFetchedAgain(t *testing.T) {
	b := newBench(t)
	payload := `{"manifests":[]}`
	d := b.up.addManifest("org/app", "latest", v1.MediaTypeImageIndex, []byte(payload))
	require.NoError(t, b.byTag("org/app", "latest").err)
	for _, spoilt := range []string{"", `{"manifests":{}}`, `{"manifests":`} {
		require.NoError(t, os.WriteFile(b.store.BlobPath(d), []byte(spoilt), 0o600))
		a := b.byTag("org/app", "latest")
		require.NoError(t, a.err)
		assert.Equal(t, payload, a.payload)
		assert.Equal(t, accesslog.Miss, a.cache)
		assert.Equal(t, accesslog.Hit, b.byDigest("org/app", d).cache, "healed")
	}
}

func TestManyClientsAreOneManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		payload := []byte(`{"manifests":[]}`)
		d := b.up.addManifest("org/app", "", v1.MediaTypeImageIndex, payload)
		other := b.repo("org/other")
		b.up.addManifest("org/other", "", v1.MediaTypeImageIndex, payload)
		_, _, err := other.manifest(t.Context(), d)
		require.NoError(t, err)
		release := b.up.hanging() // the HEAD that stands for the GET
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.NoError(t, b.byDigest("org/app", d).err) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		assert.Equal(t, 1, b.up.count("resolve"))
		assert.Equal(t, 1, b.up.count("manifest"))
	})
}

func TestUnwritableStoreFailsNoPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		b.breakStore("repositories", "fills", "blobs")
		for i := range 5 {
			a := b.byTag("podman/hello", "latest")
			require.Equal(t, 2*i+1, b.up.count("manifest"), "one fetch for the tag and its manifest")
			require.NoError(t, a.err)
			assert.Equal(t, d, a.digest)
			assert.Equal(t, accesslog.Passed, a.cache)
			assert.NotEmpty(t, a.payload)
			require.NoError(t, b.byDigest("podman/hello", d).err)
			time.Sleep(20 * time.Second)
		}
		assert.Equal(t, 2, strings.Count(b.log.String(), "the store can't be written"), "one warning a minute: %s", b.log)
		w, err := b.serveBlob("podman/hello", blobs[1].Digest, httptest.NewRequestWithContext(context.Background(), "GET", "/", nil))
		require.NoError(t, err)
		assert.Equal(t, "hello", w.Body.String())
		assert.Equal(t, accesslog.Passed, accesslog.ParseHeader(w.Header().Get(accesslog.HeaderName)))
	})
}

func TestTagIsNotKeptWithoutItsManifest(t *testing.T) {
	b := newBench(t)
	b.up.addImage(t, "podman/hello", "latest", "hello")
	b.breakStore("fills")
	require.NoError(t, b.byTag("podman/hello", "latest").err)
	_, _, err := b.store.Tag("quay.io/podman/hello", "latest")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestUpstreamThatConfirmsAnotherDigest(t *testing.T) {
	b := newBench(t)
	d := b.up.addManifest("org/app", "", v1.MediaTypeImageIndex, []byte(`{"manifests":[]}`))
	require.NoError(t, b.byDigest("org/app", d).err)
	b.up.tags["org/other:"+d.String()] = b.up.addManifest("org/other", "", v1.MediaTypeImageIndex, []byte(`{}`))
	codeIs(t, codeUpstreamInvalid, b.byDigest("org/other", d).err)
	assert.False(t, b.store.HasLink("quay.io/org/other", images.Manifest, d))
}

func TestEvictedManifestOfAFreshTagIsFetchedAgain(t *testing.T) {
	b := newBench(t, maxTagAge(time.Hour))
	d, _ := b.up.addImage(t, "podman/hello", "latest", "hello")
	require.NoError(t, b.byTag("podman/hello", "latest").err)
	require.NoError(t, os.Remove(b.store.BlobPath(d)))
	a := b.byTag("podman/hello", "latest")
	require.NoError(t, a.err)
	assert.Equal(t, accesslog.Miss, a.cache)
	assert.NotEmpty(t, a.payload)
	assert.Equal(t, 1, b.up.count("resolve"))
	assert.Contains(t, a.cacheControl, "max-age=3")
}

func TestManifestNamesItsParts(t *testing.T) {
	b := newBench(t)
	d, blobs := b.up.addImage(t, "podman/hello", "", "hello")
	m, _, err := b.repo("podman/hello").manifest(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, blobs, m.References())
}
