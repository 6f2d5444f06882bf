package images_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"registrycache/images"
)

func take(t testing.TB, s *images.Store) *images.Inventory {
	t.Helper()
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	require.NoError(t, v.Relate(context.Background()))
	return v
}

func TestInventoryHasEachBlobOnce(t *testing.T) {
	s, dir := open(t)
	require.Empty(t, take(t, s).Blobs)
	used := time.Now().Add(-time.Hour).Truncate(time.Second)
	landed := used.Add(-time.Hour)
	var want []digest.Digest
	for i := range 300 {
		d := commit(t, s, fmt.Sprint(i))
		if i%10 == 0 {
			d = digest.SHA512.FromString(fmt.Sprint(i))
			require.NoError(t, os.MkdirAll(filepath.Dir(s.BlobPath(d)), 0o755))
			require.NoError(t, os.WriteFile(s.BlobPath(d), []byte(fmt.Sprint(i)), 0o600))
			want = append(want, digest.FromString(fmt.Sprint(i)))
			setTimes(t, s, want[len(want)-1], used, landed)
		}
		setTimes(t, s, d, used, landed)
		want = append(want, d)
	}

	// What is no blob, or not complete.
	blobs := filepath.Join(dir, "docker/registry/v2/blobs")
	hex := digest.FromString("gone").Encoded()
	require.NoError(t, os.MkdirAll(filepath.Join(blobs, "sha256", hex[:2], hex), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(blobs, "sha256", hex[:2], "other"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(blobs, "lost+found/00", hex), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(blobs, "sha256/file"), nil, 0o600))
	place := func(content string) string { return filepath.Dir(s.BlobPath(digest.FromString(content))) }
	for _, strange := range []string{"a file", "a loop", "a fifo"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(place(strange)), 0o755))
	}
	require.NoError(t, os.WriteFile(place("a file"), nil, 0o600))
	require.NoError(t, os.Symlink(filepath.Base(place("a loop")), place("a loop")))
	require.NoError(t, os.Mkdir(place("a fifo"), 0o755))
	require.NoError(t, unix.Mkfifo(s.BlobPath(digest.FromString("a fifo")), 0o600))
	require.NoError(t, s.Link("quay.io/a", images.Manifest, digest.FromString("a fifo")))

	v := take(t, s)
	var got []digest.Digest
	for i, b := range v.Blobs {
		d := v.Digest(int32(i))
		got = append(got, d)
		require.EqualValues(t, 4096, b.Allocated)
		require.Equal(t, used.UnixNano(), b.Used)
		require.Equal(t, landed.UnixNano(), b.Landed)
		at, ok := v.Find(d)
		require.True(t, ok)
		require.EqualValues(t, i, at)
	}
	require.ElementsMatch(t, want, got)
	require.Empty(t, v.Manifests)

	long := digest.SHA512.FromString("0")
	for _, d := range []digest.Digest{
		digest.FromString("none"), digest.SHA512.FromString("none"), "", "sha256:", "sha256:../../x",
		// Its key is that of another blob.
		digest.NewDigestFromEncoded(digest.SHA256, long.Encoded()[:64]),
		digest.NewDigestFromEncoded(digest.SHA512, digest.FromString("0").Encoded()+long.Encoded()[:64]),
	} {
		_, ok := v.Find(d)
		require.False(t, ok, d)
	}
}

func TestInventorySaysWhatNeedsWhat(t *testing.T) {
	s, _ := open(t)
	a, b, c := commit(t, s, "a"), commit(t, s, "b"), commit(t, s, "c")
	none := digest.FromString("none")
	first := putImage(t, s, "quay.io/a", a, b)
	second := putImage(t, s, "quay.io/a", b, none)
	require.NoError(t, s.PutManifest("docker.io/b/deep/er", first, v1.MediaTypeImageManifest, payload(t, s, first)))
	index := put(t, s, "quay.io/a", fmt.Sprintf(`{"manifests":[{"digest":%q,"platform":{"os":"linux","architecture":"arm","variant":"v7"}},{"digest":%q}]}`, first, none))
	require.NoError(t, s.Link("quay.io/a", images.Manifest, c)) // not a manifest
	require.NoError(t, s.Link("quay.io/a", images.Manifest, none))
	require.NoError(t, s.Link("quay.io/a", images.Layer, a))

	v := take(t, s)
	place := func(d digest.Digest) int32 {
		i, ok := v.Find(d)
		require.True(t, ok)
		return i
	}
	needs := func(d digest.Digest) (list []digest.Digest) {
		for _, n := range v.NeedsOf(place(d)) {
			list = append(list, v.Digest(n.To))
		}
		return list
	}
	require.ElementsMatch(t, []digest.Digest{a, b}, needs(first))
	require.ElementsMatch(t, []digest.Digest{b}, needs(second))
	require.ElementsMatch(t, []digest.Digest{first}, needs(index))
	require.Empty(t, needs(a))
	require.Len(t, v.Needs, 4)

	require.Len(t, v.Manifests, 3)
	for _, m := range v.Manifests {
		switch v.Digest(m.Blob) {
		case index:
			require.Equal(t, v1.MediaTypeImageIndex, m.MediaType)
			require.EqualValues(t, 2, m.Listed)
		case second:
			require.EqualValues(t, 1, m.Missing)
		default:
			require.Zero(t, m.Missing)
		}
	}
	require.Equal(t, []string{"docker.io/b/deep/er", "quay.io/a"}, v.Repositories)
	require.ElementsMatch(t, []images.ManifestLink{
		{Repository: 0, Blob: place(first)}, {Repository: 1, Blob: place(first)},
		{Repository: 1, Blob: place(second)}, {Repository: 1, Blob: place(index)}, {Repository: 1, Blob: place(c)},
	}, v.Links)

	var layers []int32
	require.NoError(t, v.Layers(context.Background(), "quay.io", func(i int32) { layers = append(layers, i) }))
	require.Equal(t, []int32{place(a)}, layers)
	require.NoError(t, v.Layers(context.Background(), "docker.io", func(int32) { t.Error("none there") }))
}

func TestInventoryTellsWhatHasLandedSince(t *testing.T) {
	s, _ := open(t)
	needed, other := commit(t, s, "needed"), commit(t, s, "other")
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	putImage(t, s, repo, needed, commit(t, s, "as new"))
	require.NoError(t, v.Relate(context.Background()))
	require.Len(t, v.Wanted, 1)
	require.Equal(t, needed, v.Digest(v.Wanted[0]))
	_, here := v.Find(other)
	require.True(t, here)
}

func TestInventoryEndsWithTheContext(t *testing.T) {
	s, _ := open(t)
	putImage(t, s, repo, commit(t, s, "a"))
	ctx, cancel := context.WithCancel(context.Background())
	v, err := s.Take(ctx)
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, v.Relate(ctx), context.Canceled)
	_, err = s.Take(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Sweep(ctx, images.Sweeping{Before: time.Now()})
	require.ErrorIs(t, err, context.Canceled)
}

func TestTaggedManifests(t *testing.T) {
	s, _ := open(t)
	m, gone := putImage(t, s, repo), digest.FromString("gone")
	for tag, d := range map[string]digest.Digest{"v1": m, "latest": m, "old": gone} {
		require.NoError(t, s.SetTag(repo, tag, d))
	}
	v := take(t, s)
	i, _ := v.Find(m)
	tagged, err := v.Tagged(repo)
	require.NoError(t, err)
	require.Equal(t, []images.TaggedManifest{{Name: "latest", Blob: i}, {Name: "v1", Blob: i}}, tagged)
	tagged, err = v.Tagged("quay.io/none")
	require.NoError(t, err)
	require.Empty(t, tagged)
}

func put(t testing.TB, s *images.Store, repo, manifest string) digest.Digest {
	t.Helper()
	d := digest.FromString(manifest)
	doc, err := images.ParseManifest([]byte(manifest))
	require.NoError(t, err)
	require.NoError(t, s.PutManifest(repo, d, doc.Type(), []byte(manifest)))
	return d
}

func payload(t testing.TB, s *images.Store, d digest.Digest) []byte {
	t.Helper()
	b, err := os.ReadFile(s.BlobPath(d))
	require.NoError(t, err)
	return b
}

func BenchmarkTake(b *testing.B) {
	s, err := images.Open(b.TempDir())
	require.NoError(b, err)
	const n = 20000
	for i := range n {
		path := s.BlobPath(digest.FromString(fmt.Sprint(i)))
		require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(b, os.WriteFile(path, nil, 0o600))
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := s.Take(b.Context())
		require.NoError(b, err)
		require.Len(b, v.Blobs, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/blob")
}

func TestInventoryIsSorted(t *testing.T) {
	s, _ := open(t)
	var want []digest.Digest
	for i := range 50 {
		want = append(want, commit(t, s, fmt.Sprint(i)))
	}
	slices.Sort(want)
	v := take(t, s)
	for i, d := range want {
		require.Equal(t, d, v.Digest(int32(i)))
	}
}
