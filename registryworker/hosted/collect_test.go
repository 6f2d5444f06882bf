package hosted

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

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
