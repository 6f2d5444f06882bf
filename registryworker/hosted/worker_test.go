package hosted

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
	"registrycache/status"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestPushAndPull(t *testing.T) {
	w := start(t, t.TempDir())
	pushed := w.push("local/team/app:1")
	got, err := remote.Image(w.ref("local/team/app:1"), w.options()...)
	require.NoError(t, err)
	require.NoError(t, validate.Image(got))
	want, err := pushed.Digest()
	require.NoError(t, err)
	d, err := got.Digest()
	require.NoError(t, err)
	assert.Equal(t, want, d)

	a := w.do("GET", "/v2/local/team/app/manifests/1", nil, "Accept", "text/plain")
	assert.Equal(t, 200, a.StatusCode, "a manifest is what it is, whatever the client accepts")
	assert.Equal(t, want.String(), a.Header.Get("Docker-Content-Digest"))
	assert.Equal(t, "no-cache", a.Header.Get("Cache-Control"))
	assert.Contains(t, a.Header.Get("Content-Type"), "manifest")
	assert.Equal(t, 304, w.do("GET", "/v2/local/team/app/manifests/1", nil, "If-None-Match", a.Header.Get("Etag")).StatusCode)
	head := w.do("HEAD", "/v2/local/team/app/manifests/"+want.String(), nil)
	assert.Equal(t, int64(len(a.body)), head.ContentLength)
	assert.JSONEq(t, `{"name":"local/team/app","tags":["1"]}`, w.do("GET", "/v2/local/team/app/tags/list", nil).body)

	// It is there after a restart.
	w.stop()
	w = start(t, w.dir)
	assert.Equal(t, a.body, w.do("GET", "/v2/local/team/app/manifests/1", nil).body)
}

func TestATagIsFreshAfterAPushAndGoneAfterADelete(t *testing.T) {
	w := start(t, t.TempDir())
	first := w.push("local/app:1")
	w.push("local/app:1")
	a := w.do("GET", "/v2/local/app/manifests/1", nil)
	old, err := first.Digest()
	require.NoError(t, err)
	now := a.Header.Get("Docker-Content-Digest")
	assert.NotEqual(t, old.String(), now)

	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+now, nil).StatusCode)
	for _, ref := range []string{now, "1"} {
		gone := w.do("GET", "/v2/local/app/manifests/"+ref, nil)
		assert.Equal(t, 404, gone.StatusCode)
		assert.Equal(t, "MANIFEST_UNKNOWN", gone.code())
	}
	assert.Equal(t, 404, w.do("DELETE", "/v2/local/app/manifests/"+now, nil).StatusCode)
	assert.Equal(t, 200, w.do("GET", "/v2/local/app/manifests/"+old.String(), nil).StatusCode)

	w.push("local/app:2")
	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/2", nil).StatusCode)
	assert.Equal(t, 404, w.do("GET", "/v2/local/app/manifests/2", nil).StatusCode)
	assert.Len(t, listed(t, w), 2, "the former image and the one whose tag went have no tags")
}

func listed(t *testing.T, w *worker) []images.Image {
	t.Helper()
	return list(t, w).Images
}

func list(t *testing.T, w *worker) *images.Listing {
	t.Helper()
	inventory, err := w.store.Take(t.Context())
	require.NoError(t, err)
	require.NoError(t, inventory.Relate(t.Context()))
	l, err := inventory.List(t.Context())
	require.NoError(t, err)
	return l
}

func TestChunkedUpload(t *testing.T) {
	w := start(t, t.TempDir())
	content := strings.Repeat("0123456789", 5000)
	d := digest.FromString(content)
	at := w.do("POST", "/v2/local/app/blobs/uploads/", nil)
	require.Equal(t, 202, at.StatusCode, at.body)
	assert.NotEmpty(t, at.Header.Get("Docker-Upload-UUID"))
	assert.True(t, strings.HasPrefix(at.Header.Get("Location"), "/v2/local/app/blobs/uploads/"), "relative, as only the router knows its address")
	location := at.Header.Get("Location")
	for from := 0; from < len(content); from += 20000 {
		to := min(from+20000, len(content))
		at = w.do("PATCH", location, []byte(content[from:to]), "Content-Type", "application/octet-stream",
			"Content-Range", fmt.Sprintf("%d-%d", from, to-1))
		require.Equal(t, 202, at.StatusCode, at.body)
		assert.Equal(t, fmt.Sprintf("0-%d", to-1), at.Header.Get("Range"))
		if from == 0 {
			wrong := w.do("PATCH", at.Header.Get("Location"), []byte("x"), "Content-Range", "7-7")
			assert.Equal(t, http.StatusRequestedRangeNotSatisfiable, wrong.StatusCode)
			asked := w.do("GET", at.Header.Get("Location"), nil)
			assert.Equal(t, 204, asked.StatusCode)
			assert.Equal(t, at.Header.Get("Range"), asked.Header.Get("Range"))
		}
		location = at.Header.Get("Location")
	}
	wrong := w.do("PUT", location+"&digest="+digest.FromString("other").String(), nil)
	assert.Equal(t, "DIGEST_INVALID", wrong.code())
	assert.Equal(t, 404, w.do("HEAD", "/v2/local/app/blobs/"+d.String(), nil).StatusCode)
	w.upload("local/app", content)
	assert.Equal(t, content, w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).body)
	assert.Equal(t, content, w.do("GET", "/v2/local/app/blobs/"+d.String(), nil, refusedHeader, "1").body)

	aborted := w.do("POST", "/v2/local/app/blobs/uploads/", nil).Header.Get("Location")
	assert.Equal(t, 204, w.do("DELETE", aborted, nil).StatusCode)
	assert.Equal(t, 404, w.do("GET", aborted, nil).StatusCode)
}

func TestAStoreThatCannotBeWrittenIsRead(t *testing.T) {
	w := start(t, t.TempDir())
	d := w.upload("local/app", "layer")
	// What can't be locked here can't be pledged either, for root too.
	lock := filepath.Join(images.HostedDir(w.dir), "docker/registry/v2/collecting.lock")
	require.NoError(t, os.Remove(lock))
	require.NoError(t, os.Mkdir(lock, 0o755))
	assert.Equal(t, 200, w.do("HEAD", "/v2/local/app/blobs/"+d.String(), nil).StatusCode)
	a := w.do("DELETE", "/v2/local/app/blobs/"+d.String(), nil)
	assert.Equal(t, 500, a.StatusCode)
	assert.NotContains(t, a.body, w.dir)
}

func TestMount(t *testing.T) {
	w := start(t, t.TempDir())
	d := w.upload("local/base", "layer")
	assert.Equal(t, "BLOB_UNKNOWN", w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).code())
	a := w.do("POST", "/v2/local/app/blobs/uploads/?mount="+d.String()+"&from=local/base", nil)
	assert.Equal(t, 201, a.StatusCode, a.body)
	assert.Equal(t, "layer", w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).body)
	for _, from := range []string{"local/none", "quay.io/org/app"} {
		a = w.do("POST", "/v2/local/other/blobs/uploads/?mount="+d.String()+"&from="+from, nil)
		assert.Equal(t, 202, a.StatusCode, "it is to be uploaded")
	}
}

func TestManifestsAreChecked(t *testing.T) {
	w := start(t, t.TempDir())
	a := w.manifest("local/app", "1", digest.FromString("nowhere"), 7, "")
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", a.code(), a.body)
	a = w.do("PUT", "/v2/local/app/manifests/1", []byte("{"), "Content-Type", v1.MediaTypeImageManifest)
	assert.Equal(t, "MANIFEST_INVALID", a.code(), a.body)
	a = w.do("PUT", "/v2/local/app/manifests/1", make([]byte, images.MaxManifestSize+1), "Content-Type", v1.MediaTypeImageManifest)
	assert.Equal(t, "SIZE_INVALID", a.code(), a.body)
	layer := w.upload("local/app", "layer")
	a = w.manifest("local/app", digest.FromString("other").String(), layer, 5, "")
	assert.Equal(t, "DIGEST_INVALID", a.code(), a.body)
	assert.Empty(t, listed(t, w))
}

func TestRefused(t *testing.T) {
	w := start(t, t.TempDir())
	sum := digest.FromString("x").String()
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v2/quay.io/org/app/manifests/1", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/quay.io/org/app/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/localhost/app/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/local/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"GET", "/elsewhere", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/local/app/manifests/1", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/local/app/blobs/" + sum, 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/local/app/blobs/md5:abc", 400, "DIGEST_INVALID"},
		{"GET", "/v2/local/app/tags/list", 404, "NAME_UNKNOWN"},
		{"PUT", "/v2/local/app/referrers/" + sum, 405, "UNSUPPORTED"},
		{"PUT", "/v2/local/app/blobs/uploads/none?digest=" + digest.SHA512.FromString("x").String(), 400, "DIGEST_INVALID"},
	} {
		a := w.do(c.method, c.path, nil)
		assert.Equal(t, c.status, a.StatusCode, "%s %s: %s", c.method, c.path, a.body)
		assert.Equal(t, c.code, a.code(), "%s %s", c.method, c.path)
	}
}

func TestReferrers(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	subject := w.do("GET", "/v2/local/app/manifests/1", nil).Header.Get("Docker-Content-Digest")
	path := "/v2/local/app/referrers/" + subject
	index := func(query string) (got v1.Index) {
		a := w.do("GET", path+query, nil)
		require.Equal(t, 200, a.StatusCode, a.body)
		require.Equal(t, v1.MediaTypeImageIndex, a.Header.Get("Content-Type"))
		require.NoError(t, json.Unmarshal([]byte(a.body), &got))
		require.NotNil(t, got.Manifests)
		return got
	}
	assert.Empty(t, index("").Manifests)

	refer := func(kind string) string {
		layer := w.upload("local/app", kind)
		a := w.manifest("local/app", "", layer, len(kind), `"artifactType":"`+kind+`","annotations":{"kind":"`+kind+`"},`+
			`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+subject+`","size":1},`)
		require.Equal(t, 201, a.StatusCode, a.body)
		assert.Equal(t, subject, a.Header.Get("OCI-Subject"))
		return a.Header.Get("Docker-Content-Digest")
	}
	sbom, signature := refer("text/sbom"), refer("text/signature")
	refer("text/sbom")
	got := index("").Manifests
	require.Len(t, got, 2)
	assert.Equal(t, sbom, got[0].Digest.String())
	assert.Equal(t, "text/sbom", got[0].ArtifactType)
	assert.Equal(t, map[string]string{"kind": "text/sbom"}, got[0].Annotations)
	assert.Equal(t, v1.MediaTypeImageManifest, got[0].MediaType)
	assert.Positive(t, got[0].Size)

	got = index("?artifactType=text/signature").Manifests
	require.Len(t, got, 1)
	assert.Equal(t, signature, got[0].Digest.String())
	assert.Equal(t, "artifactType", w.do("GET", path+"?artifactType=x", nil).Header.Get("OCI-Filters-Applied"))

	// Another process knows it from the store.
	w.stop()
	w = start(t, w.dir)
	require.Len(t, index("").Manifests, 2)
	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+signature, nil).StatusCode)
	got = index("").Manifests
	require.Len(t, got, 1)
	assert.Equal(t, sbom, got[0].Digest.String())
}

// collect is what `images rm` does.
func collect(t *testing.T, w *worker, repo string) *images.Removal {
	t.Helper()
	release, err := w.store.Collecting(t.Context())
	require.NoError(t, err)
	defer release()
	l := list(t, w)
	var targets []images.Target
	for i, image := range l.Images {
		if image.Repository == repo {
			targets = append(targets, images.Target{Image: i})
		}
	}
	r, err := l.PlanCollection(t.Context(), targets)
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context()))
	return r
}

func TestAPushDoesNotLoseWhatIsCollected(t *testing.T) {
	w := start(t, t.TempDir())
	base := w.upload("local/app", "base layer")
	require.Equal(t, 201, w.manifest("local/app", "1", base, 10, "").StatusCode)

	// A push finds the base here, mounts it elsewhere, uploads more, and is not
	// finished when the image goes.
	assert.Equal(t, 200, w.do("HEAD", "/v2/local/app/blobs/"+base.String(), nil).StatusCode)
	mounted := w.do("POST", "/v2/local/other/blobs/uploads/?mount="+base.String()+"&from=local/app", nil)
	require.Equal(t, 201, mounted.StatusCode)
	fresh := w.upload("local/app", "fresh layer")
	assert.Equal(t, 2, collect(t, w, "local/app").Freed.Blobs, "manifest and config")
	assert.Empty(t, listed(t, w))

	require.Equal(t, 201, w.manifest("local/app", "2", base, 10, "").StatusCode)
	require.Equal(t, 201, w.manifest("local/app", "3", fresh, 11, "").StatusCode)
	require.Equal(t, 201, w.manifest("local/other", "1", base, 10, "").StatusCode)

	// Nothing is under way any more.
	r := collect(t, w, "local/app")
	assert.Zero(t, r.Pledged)
	assert.Equal(t, 2, r.Freed.Blobs, "the fresh layer and its manifest; the config and the others are needed")
	assert.Equal(t, "base layer", w.do("GET", "/v2/local/other/blobs/"+base.String(), nil).body)
	collect(t, w, "local/other")
	assert.Zero(t, list(t, w).All)
	require.Equal(t, "MANIFEST_BLOB_UNKNOWN", w.do("PUT", "/v2/local/app/manifests/9", []byte(`{"schemaVersion":2,"mediaType":"`+
		v1.MediaTypeImageManifest+`","config":{"mediaType":"x/y","digest":"`+base.String()+`","size":10},"layers":[]}`),
		"Content-Type", v1.MediaTypeImageManifest).code())
}

// Pushes into several repositories, all with one base, while all that is there
// goes again and again: none fails, and what stays is whole.
func TestPushesBesideRemovals(t *testing.T) {
	w := start(t, t.TempDir())
	base, err := random.Image(32<<10, 2)
	require.NoError(t, err)
	const repositories, each = 3, 12
	pushed := make(chan error)
	for i := range repositories {
		go func() {
			for n := range each {
				layer, err := random.Layer(4<<10, types.DockerLayer)
				if err == nil {
					img, _ := mutate.AppendLayers(base, layer)
					err = remote.Write(w.ref(fmt.Sprintf("local/r%d:%d", i, n)), img, w.options()...)
				}
				pushed <- err
			}
		}()
	}
	for i := range repositories * each {
		err := <-pushed
		assert.NoError(t, err)
		collect(t, w, fmt.Sprintf("local/r%d", i%repositories))
	}
	for _, image := range listed(t, w) {
		require.True(t, image.Complete(), "%s %v", image.Repository, image.Tags)
		got, err := remote.Image(w.ref(image.Repository+"@"+image.Digest.String()), w.options()...)
		require.NoError(t, err)
		require.NoError(t, validate.Image(got))
	}
}

func FuzzParse(f *testing.F) {
	sum := digest.FromString("x").String()
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/local/a/manifests/1", "/v2/local/a/manifests/" + sum, "/v2/local/a/blobs/" + sum,
		"/v2/local/a/blobs/uploads/", "/v2/local/a/blobs/uploads/u", "/v2/local/a/referrers/" + sum, "/v2/quay.io/a/tags/list",
		"/v2/local/../a/tags/list", "/v2/local/a/blobs/sha512:" + strings.Repeat("a", 64),
	} {
		f.Add(path)
	}
	h := newHandler("local", images.At(f.TempDir()), nil, &collector{}, zerolog.Nop())
	f.Fuzz(func(t *testing.T, path string) {
		q, err := h.parse(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}})
		if err != nil {
			return
		}
		if q.repository != "" {
			require.True(t, strings.HasPrefix(q.repository, "local/"), q.repository)
			require.NotContains(t, q.repository, "..")
		}
		if q.digest != "" {
			require.NoError(t, q.digest.Validate())
		}
		require.NotContains(t, q.tag, "/")
	})
}

func TestDeletedThroughTheAPIIsCollectedLater(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	w.push("local/other:1")
	d := w.do("GET", "/v2/local/app/manifests/1", nil).Header.Get("Docker-Content-Digest")
	require.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+d, nil).StatusCode)
	require.Len(t, listed(t, w), 1, "it is no image any more")
	require.Equal(t, 5, collect(t, w, "none").Freed.Blobs, "manifest, config and three layers")
	require.True(t, listed(t, w)[0].Complete())
}

func TestGarbageIsCollectedOnceAnHour(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	d := w.do("GET", "/v2/local/app/manifests/1", nil).Header.Get("Docker-Content-Digest")
	require.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+d, nil).StatusCode)
	require.Equal(t, 5, list(t, w).Loose.Blobs)
	w.upload("local/app", "layer of a push under way")
	w.stop()

	// In a bubble the hour is over at once.
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &collector{store: w.store, log: zerolog.Nop()}
		go c.run(ctx)
		time.Sleep(collectEvery - time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 6, blobs(t, w))
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 1, blobs(t, w))
		assert.True(t, c.due.Load(), "for what the push may not need after all")
		cancel()
		synctest.Wait()
	})
}

func blobs(t *testing.T, w *worker) int {
	t.Helper()
	inventory, err := w.store.Take(t.Context())
	require.NoError(t, err)
	return len(inventory.Blobs)
}

func TestTheStateSaysHowMuchThereIs(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/team/app:1")
	w.push("local/other:1")
	h := w.part().Hosted
	for h == nil { // a store that is slow is measured behind the back
		h = w.part().Hosted
	}
	assert.Equal(t, "local", h.Prefix)
	assert.Equal(t, 2, h.Repositories)
	assert.Equal(t, 2, h.Tags)
	assert.Greater(t, h.Used, int64(6*64<<10))
}

func TestTheStoreIsMeasuredOnceAMinute(t *testing.T) {
	store, err := images.Open(t.TempDir())
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t.Context(), "local", store, zerolog.Nop())
		defer m.close()
		assert.Equal(t, &status.Hosted{Prefix: "local"}, m.part().Hosted)
		first := m.measured
		m.part()
		assert.Equal(t, first, m.measured)
	})
}

func TestRunReportsWhatCannotWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	err := Run(t.Context(), config.HostedWorker{StoreDir: file, Prefix: "local"}, nil, zerolog.Nop(),
		func() { t.Error("ready") }, func(func() status.Part) {})
	require.Error(t, err)
}
