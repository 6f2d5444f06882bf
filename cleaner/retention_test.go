package cleaner

import (
	"context"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

// image stores an image of one layer of 64 KiB, used so many hours ago.
func (s *madeStore) image(t testing.TB, repo, tag string, hours int, layers ...digest.Digest) (manifest, layer digest.Digest) {
	t.Helper()
	layer = s.blob(t, repo+tag, hours)
	require.NoError(t, s.store.Link(repo, images.Layer, layer))
	m := `{"mediaType":"` + v1.MediaTypeImageManifest + `","layers":[{"digest":"` + layer.String() + `"}`
	for _, d := range layers {
		require.NoError(t, s.store.Link(repo, images.Layer, d))
		m += `,{"digest":"` + d.String() + `"}`
	}
	m += "]}"
	manifest = digest.FromString(m)
	require.NoError(t, s.store.PutManifest(repo, manifest, v1.MediaTypeImageManifest, []byte(m)))
	require.NoError(t, s.store.SetTag(repo, tag, manifest))
	s.used(t, manifest, hours)
	return manifest, layer
}

func names(list []Evicted) (names []string) {
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

func TestPinnedImagesStay(t *testing.T) {
	s := newStore(t)
	base := s.blob(t, "base", 300)
	pinned, layer := s.image(t, "quay.io/a/b", "keep", 200, base)
	other, _ := s.image(t, "quay.io/a/b", "other", 100, base)
	all, _ := s.image(t, "quay.io/whole/deep/er", "x", 200)

	r := s.run(t, config.Cleaner{MaxSize: 1, Pins: []string{"quay.io/a/*:keep", "quay.io/whole/*"}})
	require.Equal(t, []string{"quay.io/a/b:other"}, names(r.Images))
	require.Positive(t, r.Missing)
	for _, d := range []digest.Digest{pinned, layer, base, all} {
		require.True(t, s.here(d), d)
	}
	require.False(t, s.here(other))

	r = s.run(t, config.Cleaner{MaxSize: 1 << 40, MaxAge: time.Hour, Pins: []string{"quay.io/a/*", "quay.io/whole/*"}})
	require.Zero(t, r.Blobs, "nor by age")
}

func TestQuotasOfUpstreams(t *testing.T) {
	s := newStore(t)
	base := s.blob(t, "base", 300)
	s.image(t, "quay.io/a", "old", 30, base)
	s.image(t, "quay.io/a", "new", 10, base)
	s.image(t, "docker.io/library/x", "older", 90, base)
	s.image(t, "ghcr.io/x", "oldest", 100)
	loose := s.blob(t, "whose manifest is gone", 20)
	require.NoError(t, s.store.Link("ghcr.io/x", images.Layer, loose))

	// quay.io has two layers and two manifests for itself, the base counts for
	// nobody's quota.
	own := int64(2 * (blobBytes + 4096))
	set := config.Cleaner{MaxSize: 1 << 40, Quotas: []config.Quota{{Path: "quay.io", MaxSize: own}}}
	require.Zero(t, s.run(t, set).Blobs)

	set.Quotas[0].MaxSize = own - 1
	set.Quotas = append(set.Quotas, config.Quota{Path: "ghcr.io", MaxSize: blobBytes})
	r := s.run(t, set)
	require.Equal(t, []string{"ghcr.io/x:oldest", "quay.io/a:old"}, names(r.Images))
	require.Equal(t, OverQuota, r.Images[0].Why)
	require.Zero(t, r.Missing)
	require.True(t, s.here(base))
	require.True(t, s.here(loose))

	set.Quotas[1].MaxSize = 1
	r = s.run(t, set)
	require.EqualValues(t, blobBytes, r.Loose)
	require.False(t, s.here(loose))
}

func TestADryRunChangesNothing(t *testing.T) {
	s := newStore(t)
	m, layer := s.image(t, "quay.io/a", "1", 10)
	gone := digest.FromString("gone")
	require.NoError(t, s.store.Link("quay.io/a", images.Layer, gone))
	old := time.Now().Add(-2 * youngAge)
	for _, d := range []digest.Digest{m, layer} {
		setLanded(t, s, d, old)
	}
	var told []int64
	r, err := Clean(context.Background(), s.store, config.Cleaner{MaxSize: 1}, Options{
		DryRun: true, Progress: func(gone, all int64) { told = append(told, gone, all) },
	})
	require.NoError(t, err)
	require.Equal(t, []string{"quay.io/a:1"}, names(r.Images))
	require.EqualValues(t, 2, r.Blobs)
	require.Zero(t, r.After)
	require.True(t, s.here(m))
	require.True(t, s.here(layer))
	require.True(t, s.store.HasLink("quay.io/a", images.Layer, gone))
	require.Equal(t, []int64{0, blobBytes + 4096, 4096, blobBytes + 4096, blobBytes + 4096, blobBytes + 4096}, told)

	r, err = Clean(context.Background(), s.store, config.Cleaner{MaxSize: 1}, Options{})
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Blobs)
	require.False(t, s.here(m))
}

func TestALookThatHasNothingToDoWalksNothing(t *testing.T) {
	s := newStore(t)
	s.image(t, "quay.io/a", "1", 10)
	set := config.Cleaner{MaxSize: 1 << 40}
	before := s.run(t, set).Before
	// A walk would find this; nobody has counted it.
	s.blob(t, "smuggled in", 10)
	r, err := s.look(context.Background(), set)
	require.NoError(t, err)
	require.Equal(t, before, r.Before)
	require.Greater(t, s.run(t, set).Before, before)
}
