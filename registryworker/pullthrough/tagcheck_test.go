package pullthrough

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func maxTagAge(d time.Duration) func(*Options) {
	return func(o *Options) { o.Settings.TagMaxAge = d }
}

func staleFor(d time.Duration) func(*Options) {
	return func(o *Options) { o.Settings.StaleIfError = d }
}

func codeIs(t *testing.T, want errcode.ErrorCode, err error) {
	t.Helper()
	e, ok := errors.AsType[errcode.Error](err)
	require.True(t, ok, "%T %v", err, err)
	require.Equal(t, want, e.Code, "%v", err)
}

func TestManyClientsAreOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d, _ := b.up.addImage(t, "podman/hello", "latest", "hello")
		release := b.up.hanging()
		const clients = 50
		answers := make(chan got, clients)
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() { answers <- b.byTag("podman/hello", "latest") })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		close(answers)
		how := map[accesslog.CacheStatus]int{}
		for a := range answers {
			require.NoError(t, a.err)
			require.Equal(t, d, a.digest)
			how[a.cache]++
		}
		assert.Equal(t, 1, b.up.count("resolve"))
		assert.Equal(t, 1, b.up.count("manifest"))
		assert.Equal(t, map[accesslog.CacheStatus]int{accesslog.Miss: 1, accesslog.Collapsed: clients - 1}, how)
	})
}

func TestClientThatLeavesTakesNobodyWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.up.addImage(t, "podman/hello", "latest", "hello")
		release := b.up.hanging()
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := b.repo("podman/hello").resolve(ctx, "latest")
			left <- err
		}()
		synctest.Wait()
		second := make(chan got)
		go func() { second <- b.byTag("podman/hello", "latest") }()
		synctest.Wait()
		leave()
		require.Error(t, <-left)
		close(release)
		require.NoError(t, (<-second).err)
		require.Equal(t, 1, b.up.count("resolve"))
	})
}

func TestFreshTagAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, maxTagAge(time.Minute))
		b.up.addImage(t, "podman/hello", "latest", "hello")
		a := b.byTag("podman/hello", "latest")
		require.NoError(t, a.err)
		assert.Equal(t, "max-age=60", a.cacheControl)

		time.Sleep(59 * time.Second)
		a = b.byTag("podman/hello", "latest")
		require.NoError(t, a.err)
		assert.Equal(t, accesslog.Hit, a.cache)
		assert.Equal(t, "max-age=1", a.cacheControl)
		assert.Equal(t, 1, b.up.count("resolve"))

		time.Sleep(2 * time.Second)
		a = b.byTag("podman/hello", "latest")
		assert.Equal(t, accesslog.Revalidated, a.cache)
		assert.Equal(t, 2, b.up.count("resolve"))
		assert.Equal(t, 1, b.up.count("manifest"), "the manifest did not change")
	})
}

// RFC 5861 section 3: within the grace a tag is answered at once, and checked
// for those who come later.
func TestStaleWhileRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, maxTagAge(time.Minute), func(o *Options) { o.Settings.StaleWhileRevalidate = time.Hour })
		first, _ := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		second, _ := b.up.addImage(t, "podman/hello", "latest", "hello again")
		require.NotEqual(t, first, second)

		time.Sleep(30 * time.Minute)
		release := b.up.hanging()
		start := time.Now()
		for range 50 {
			a := b.byTag("podman/hello", "latest")
			require.NoError(t, a.err)
			require.Equal(t, first, a.digest)
			require.Equal(t, accesslog.Stale, a.cache)
			require.Equal(t, "max-age=0", a.cacheControl)
		}
		assert.Zero(t, time.Since(start), "nobody waits")
		synctest.Wait()
		assert.Equal(t, 2, b.up.count("resolve"), "one check for all")

		close(release)
		synctest.Wait()
		a := b.byTag("podman/hello", "latest")
		assert.Equal(t, second, a.digest)
		assert.Equal(t, accesslog.Hit, a.cache)

		time.Sleep(61*time.Minute + time.Second)
		assert.Equal(t, accesslog.Revalidated, b.byTag("podman/hello", "latest").cache, "the grace has an end")
	})
}

// While the upstream fails the checks behind the clients' backs are the
// circuit's probes, no more.
func TestStaleWhileRevalidateWhileTheUpstreamFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.Settings.StaleWhileRevalidate = time.Hour })
		b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.up.failing(upErr(upstream.Unavailable), "resolve")
		before := b.up.count("resolve")
		for range 300 { // ten requests a second
			require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, before+5, b.up.count("resolve"), "the first, and those after pauses of 1, 2, 4, 8 s")
	})
}

func TestUnchangedTagIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d, _ := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		before := snapshot(t, b.dir)
		a := b.byTag("podman/hello", "latest")
		require.NoError(t, a.err)
		assert.Equal(t, accesslog.Revalidated, a.cache)
		assert.Equal(t, "no-cache", a.cacheControl)
		assert.Equal(t, before, snapshot(t, b.dir))

		next, _ := b.up.addImage(t, "podman/hello", "latest", "hello again")
		require.NotEqual(t, d, next)
		a = b.byTag("podman/hello", "latest")
		assert.Equal(t, next, a.digest)
		assert.Equal(t, accesslog.Miss, a.cache)
		onDisk, _, err := b.store.Tag("quay.io/podman/hello", "latest")
		require.NoError(t, err)
		assert.Equal(t, next, onDisk)
	})
}

// snapshot is every file below dir with the time it was changed.
func snapshot(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	files := map[string]time.Time{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		files[path] = info.ModTime()
		return err
	}))
	return files
}

func TestFailingUpstreamLeavesTheKnownDigest(t *testing.T) {
	for _, k := range []upstream.Kind{
		upstream.Unauthorized, upstream.Denied, upstream.RateLimited, upstream.Unavailable, upstream.Invalid,
	} {
		t.Run(k.String(), func(t *testing.T) {
			b := newBench(t)
			d, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
			require.NoError(t, b.byTag("podman/hello", "latest").err)
			b.have("podman/hello", blobs...)

			b.up.failing(upErr(k), "resolve")
			a := b.byTag("podman/hello", "latest")
			require.NoError(t, a.err)
			assert.Equal(t, d, a.digest)
			assert.Equal(t, accesslog.Stale, a.cache)
			assert.Equal(t, "max-age=0", a.cacheControl)
			assert.NotEmpty(t, a.payload)

			// After a restart there is only what the store says.
			again := benchIn(t, b.dir, b.up)
			a = again.byTag("podman/hello", "latest")
			require.NoError(t, a.err)
			assert.Equal(t, accesslog.Stale, a.cache)
		})
	}
}

func TestNewManifestThatCannotBeHadLeavesTheKnownDigest(t *testing.T) {
	b := newBench(t)
	d, blobs := b.up.addImage(t, "library/alpine", "3", "old")
	require.NoError(t, b.byTag("library/alpine", "3").err)
	b.have("library/alpine", blobs...)

	// Docker Hub's rate limit counts GETs of manifests and not HEADs.
	b.up.addImage(t, "library/alpine", "3", "new")
	b.up.failing(upErr(upstream.RateLimited), "manifest")
	a := b.byTag("library/alpine", "3")
	require.NoError(t, a.err)
	assert.Equal(t, d, a.digest)
	assert.Equal(t, accesslog.Stale, a.cache)
}

func TestStaleTagHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, staleFor(time.Hour))
		_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)
		// The file's own time is not of this test's clock.
		require.NoError(t, b.store.ConfirmTag("quay.io/podman/hello", "latest"))

		time.Sleep(50 * time.Minute)
		require.NoError(t, b.byTag("podman/hello", "latest").err, "checked, and that is written down")

		time.Sleep(59 * time.Minute)
		b.up.failing(upErr(upstream.Unavailable), "resolve")
		restarted := benchIn(t, b.dir, b.up, staleFor(time.Hour))
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		require.NoError(t, restarted.byTag("podman/hello", "latest").err)

		time.Sleep(2 * time.Minute)
		codeIs(t, errcode.ErrorCodeUnavailable, b.byTag("podman/hello", "latest").err)
		codeIs(t, errcode.ErrorCodeUnavailable, restarted.byTag("podman/hello", "latest").err)
	})
}

func TestClearNotFoundIsNotFoundHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)

		b.up.mu.Lock()
		delete(b.up.tags, "podman/hello:latest")
		b.up.mu.Unlock()
		a := b.byTag("podman/hello", "latest")
		codeIs(t, errcode.ErrorCodeManifestUnknown, a.err)
		assert.Equal(t, accesslog.Failed, a.cache)
		assert.Equal(t, "no-store", a.cacheControl)
		checks := b.up.count("resolve")

		time.Sleep(9 * time.Second)
		codeIs(t, errcode.ErrorCodeManifestUnknown, b.byTag("podman/hello", "latest").err)
		assert.Equal(t, checks, b.up.count("resolve"), "remembered")

		// What is gone does not come back as stale, but stays by digest.
		b.up.failing(upErr(upstream.Unavailable), "resolve", "manifest")
		time.Sleep(2 * time.Second)
		codeIs(t, errcode.ErrorCodeUnavailable, b.byTag("podman/hello", "latest").err)
		require.NoError(t, b.byDigest("podman/hello", d).err)

		b.up.failing(nil, "resolve", "manifest")
		b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
	})
}

func TestStaleIsOnlyWhatCanBePulled(t *testing.T) {
	b := newBench(t)
	index := func(children ...v1.Descriptor) []byte {
		return encode(t, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
	}
	child, blobs := b.up.addImage(t, "org/app", "", "amd64")
	other, _ := b.up.addImage(t, "org/app", "", "arm64")
	b.up.addManifest("org/app", "multi", v1.MediaTypeImageIndex, index(
		v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: other},
		v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: child},
	))
	require.NoError(t, b.byTag("org/app", "multi").err)
	down := func() got {
		b.up.failing(upErr(upstream.Unavailable), "resolve", "manifest", "stat", "open")
		defer b.up.failing(nil, "resolve", "manifest", "stat", "open")
		return b.byTag("org/app", "multi")
	}
	codeIs(t, errcode.ErrorCodeUnavailable, down().err) // no child

	require.NoError(t, b.byDigest("org/app", child).err)
	b.have("org/app", blobs[0])
	codeIs(t, errcode.ErrorCodeUnavailable, down().err) // no layer

	b.have("org/app", blobs[1])
	a := down()
	require.NoError(t, a.err)
	assert.Equal(t, accesslog.Stale, a.cache)

	require.NoError(t, os.Remove(b.store.BlobPath(blobs[1].Digest)))
	codeIs(t, errcode.ErrorCodeUnavailable, down().err) // the layer was evicted
}

func TestWhatAnImageNeedNotHave(t *testing.T) {
	b := newBench(t)
	layer := b.up.addBlob("org/app", "layer")
	empty := v1.Descriptor{MediaType: v1.MediaTypeEmptyJSON, Digest: digest.FromString("{}"), Size: 2}
	foreign := v1.Descriptor{MediaType: "application/foreign", Digest: digest.FromString("far"), URLs: []string{"https://example.com/far"}}
	mine := b.up.addManifest("org/app", "artifact", v1.MediaTypeImageManifest, encode(t, v1.Manifest{
		MediaType: v1.MediaTypeImageManifest, Config: empty, Layers: []v1.Descriptor{foreign, layer},
	}))
	b.up.addManifest("org/app", "attested", v1.MediaTypeImageIndex, encode(t, v1.Index{
		MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{{Digest: mine, Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
	}))
	for _, tag := range []string{"artifact", "attested"} {
		require.NoError(t, b.byTag("org/app", tag).err)
	}
	b.have("org/app", layer)
	b.up.failing(upErr(upstream.Unavailable), "resolve")
	require.NoError(t, b.byTag("org/app", "artifact").err)
	codeIs(t, errcode.ErrorCodeUnavailable, b.byTag("org/app", "attested").err)

	// A layer that only another repository may serve is as good as none.
	b.up.failing(nil, "resolve")
	other := b.up.addBlob("org/other", "other")
	b.up.addManifest("org/app", "unlinked", v1.MediaTypeImageManifest, encode(t, v1.Manifest{
		MediaType: v1.MediaTypeImageManifest, Config: empty, Layers: []v1.Descriptor{other},
	}))
	require.NoError(t, b.byTag("org/app", "unlinked").err)
	b.have("org/other", other)
	b.up.failing(upErr(upstream.Unavailable), "resolve")
	codeIs(t, errcode.ErrorCodeUnavailable, b.byTag("org/app", "unlinked").err)
}

func TestColdTagWaitsForASlowUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.up.addImage(t, "podman/hello", "latest", "hello")
		release := b.up.hanging()
		time.AfterFunc(20*time.Second, func() { close(release) })
		a := b.byTag("podman/hello", "latest")
		require.NoError(t, a.err)
		assert.Equal(t, accesslog.Miss, a.cache)
	})
}

func TestOfflineAsksNobody(t *testing.T) {
	online := newBench(t)
	d, blobs := online.up.addImage(t, "podman/hello", "latest", "hello")
	require.NoError(t, online.byTag("podman/hello", "latest").err)
	online.have("podman/hello", blobs...)
	partly, _ := online.up.addImage(t, "podman/partly", "latest", "partly")
	require.NoError(t, online.byTag("podman/partly", "latest").err)

	b := benchIn(t, online.dir, newFake(), func(o *Options) { o.Offline = true })
	a := b.byTag("podman/hello", "latest")
	require.NoError(t, a.err)
	assert.Equal(t, d, a.digest)
	assert.Equal(t, accesslog.Hit, a.cache)
	require.NoError(t, b.byDigest("podman/hello", d).err)

	for what, err := range map[string]error{
		"tag":        b.byTag("podman/hello", "other").err,
		"incomplete": b.byTag("podman/partly", "latest").err,
		"digest":     b.byDigest("podman/hello", partly).err,
	} {
		codeIs(t, errcode.ErrorCodeManifestUnknown, err)
		require.ErrorContains(t, err, "OFFLINE is set", what)
	}
	assert.Empty(t, b.up.calls)
}
