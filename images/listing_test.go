package images_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/images/imagestest"
)

func list(t testing.TB, s *images.Store) *images.Listing {
	t.Helper()
	l, err := take(t, s).List(context.Background())
	require.NoError(t, err)
	return l
}

// only returns the one image of a listing that a repository has.
func only(t testing.TB, l *images.Listing, repo string) images.Image {
	t.Helper()
	var found []images.Image
	for _, image := range l.Images {
		if image.Repository == repo {
			found = append(found, image)
		}
	}
	require.Len(t, found, 1, repo)
	return found[0]
}

// pulled stores an image as a pull does: a config, layers that are here, and
// the manifest.
func pulled(t *testing.T, s *images.Store, repo, config string, layers ...digest.Digest) digest.Digest {
	t.Helper()
	c := commit(t, s, config)
	doc := fmt.Sprintf(`{"mediaType":%q,"config":{"digest":%q},"layers":[`, v1.MediaTypeImageManifest, c)
	for i, d := range append(layers, c) {
		require.NoError(t, s.Link(repo, images.Layer, d))
		if d == c {
			break
		}
		if i > 0 {
			doc += ","
		}
		doc += fmt.Sprintf(`{"digest":%q}`, d)
	}
	return put(t, s, repo, doc+"]}")
}

// index stores an index of manifests by platform, or by none.
func index(t *testing.T, s *images.Store, repo string, listed map[string]digest.Digest) digest.Digest {
	t.Helper()
	var entries []string
	for platform, d := range listed {
		entry := fmt.Sprintf(`{"digest":%q}`, d)
		if os, arch, ok := strings.Cut(platform, "/"); ok {
			entry = fmt.Sprintf(`{"digest":%q,"platform":{"os":%q,"architecture":%q}}`, d, os, arch)
		}
		entries = append(entries, entry)
	}
	return put(t, s, repo, fmt.Sprintf(`{"mediaType":%q,"manifests":[%s]}`, v1.MediaTypeImageIndex, strings.Join(entries, ",")))
}

func tag(t *testing.T, s *images.Store, repo, tag string, d digest.Digest) {
	t.Helper()
	require.NoError(t, s.SetTag(repo, tag, d))
}

func TestListOfAnEmptyStore(t *testing.T) {
	s, _ := open(t)
	l := list(t, s)
	require.Empty(t, l.Images)
	require.Zero(t, l.All)
}

func TestListTellsWhatAnImageIs(t *testing.T) {
	s, _ := open(t)
	layer := commit(t, s, "layer")
	plain := pulled(t, s, "quay.io/a/plain", `{"os":"linux","architecture":"arm","variant":"v7"}`, layer)
	tag(t, s, "quay.io/a/plain", "v1", plain)
	tag(t, s, "quay.io/a/plain", "latest", plain)
	used := time.Now().Add(-time.Hour).Truncate(time.Second)
	setTimes(t, s, plain, used, used)

	l := list(t, s)
	require.Equal(t, images.Amount{Blobs: 3, Bytes: 3 * 4096}, l.All)
	require.Zero(t, l.Loose)
	image := only(t, l, "quay.io/a/plain")
	require.Equal(t, []string{"latest", "v1"}, image.Tags)
	require.Equal(t, plain, image.Digest)
	require.Equal(t, v1.MediaTypeImageManifest, image.MediaType)
	require.Equal(t, []string{"linux/arm/v7"}, image.Platforms)
	require.Equal(t, 3, image.Blobs)
	require.EqualValues(t, 3*4096, image.Size)
	require.Equal(t, image.Size, image.Own)
	require.True(t, used.Equal(image.Used), image.Used)
	require.Zero(t, image.Listed)
	require.True(t, image.Complete())
}

func TestListTellsWhatIsShared(t *testing.T) {
	s, _ := open(t)
	base := commit(t, s, "base")
	a := pulled(t, s, "quay.io/a", `{"os":"a"}`, base, commit(t, s, "a"))
	tag(t, s, "quay.io/a", "1", a)
	pulled(t, s, "docker.io/b", `{"os":"b"}`, base)
	// One manifest in two repositories: to remove one of them frees nothing.
	for _, repo := range []string{"ghcr.io/c", "ghcr.io/d"} {
		pulled(t, s, repo, `{"os":"c"}`)
	}
	commit(t, s, "of no image")

	l := list(t, s)
	for repo, want := range map[string][2]int64{ // blobs: all, own
		"quay.io/a": {4, 3}, "docker.io/b": {3, 2}, "ghcr.io/c": {2, 0}, "ghcr.io/d": {2, 0},
	} {
		image := only(t, l, repo)
		require.Equal(t, want, [2]int64{image.Size / 4096, image.Own / 4096}, repo)
	}
	require.Equal(t, images.Amount{Blobs: 1, Bytes: 4096}, l.Loose)
}

func TestListOfAnIndex(t *testing.T) {
	const repo = "quay.io/a/multi"
	s, _ := open(t)
	shared := commit(t, s, "shared")
	amd := pulled(t, s, repo, `{"os":"linux","architecture":"amd64"}`, shared, commit(t, s, "amd"))
	arm := pulled(t, s, repo, `{"os":"linux","architecture":"arm64"}`, shared, commit(t, s, "arm"))
	attestation := pulled(t, s, repo, `{}`, digest.FromString("nobody fetched it"))
	top := index(t, s, repo, map[string]digest.Digest{
		"linux/amd64": amd, "no platform": arm, "linux/s390x": digest.FromString("not here"), "unknown/unknown": attestation,
	})
	tag(t, s, repo, "latest", top)

	image := only(t, list(t, s), repo)
	require.Equal(t, top, image.Digest)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, image.Platforms)
	require.Equal(t, []int{3, 2}, []int{image.Listed, image.Here})
	require.Equal(t, 10, image.Blobs, "index, three manifests with their configs, three layers")
	require.True(t, image.Complete(), image.Missing)

	// One of its images has a tag besides, and another index lists it.
	tag(t, s, repo, "latest-arm64", arm)
	index(t, s, "docker.io/other", map[string]digest.Digest{"linux/arm64": arm})
	l := list(t, s)
	require.Len(t, l.Images, 3)
	tagged := l.Images[1]
	if tagged.Digest != arm {
		tagged = l.Images[2]
	}
	require.Equal(t, []string{"latest-arm64"}, tagged.Tags)
	require.Zero(t, tagged.Own)
	other := only(t, l, "docker.io/other")
	require.False(t, other.Complete(), "the repository has none of the images that the index lists")
	require.Equal(t, []int{1, 0}, []int{other.Listed, other.Here})
	require.EqualValues(t, 4096, other.Own)
}

func TestListTellsTheLastUse(t *testing.T) {
	const repo = "quay.io/a"
	s, _ := open(t)
	layer := commit(t, s, "layer")
	inner, alone := pulled(t, s, repo, `{"os":"linux"}`, layer), pulled(t, s, repo, `{"os":"plan9"}`, layer)
	outer := index(t, s, repo, map[string]digest.Digest{"linux/amd64": inner})
	tag(t, s, repo, "inner", inner)
	now := time.Now().Truncate(time.Second)
	ago := func(d digest.Digest, d2 time.Duration) { setTimes(t, s, d, now.Add(-d2), now.Add(-24*time.Hour)) }
	ago(inner, 3*time.Hour)
	ago(outer, 2*time.Hour)
	ago(alone, 4*time.Hour)
	ago(layer, time.Minute) // by somebody else who needs it
	uses := func() map[digest.Digest]time.Duration {
		uses := map[digest.Digest]time.Duration{}
		for _, image := range list(t, s).Images {
			uses[image.Digest] = now.Sub(image.Used)
		}
		return uses
	}
	require.Equal(t, map[digest.Digest]time.Duration{inner: 2 * time.Hour, outer: 2 * time.Hour, alone: 4 * time.Hour}, uses())

	ago(inner, time.Hour)
	require.Equal(t, map[digest.Digest]time.Duration{inner: time.Hour, outer: 2 * time.Hour, alone: 4 * time.Hour}, uses(),
		"an image used by its own name says nothing of the index")

	ago(alone, -48*time.Hour)
	require.InDelta(t, 0, uses()[alone].Seconds(), 60, "a use in the future is a wrong clock")
}

func TestListTellsWhatIsMissing(t *testing.T) {
	const repo = "quay.io/a"
	s, dir := open(t)
	none, unlinked := digest.FromString("none"), commit(t, s, "unlinked")
	d := put(t, s, repo, fmt.Sprintf(`{"config":{"digest":%q,"mediaType":%q},"layers":[{"digest":%q},{"digest":%q},{"digest":%q,"urls":["https://x"]}]}`,
		digest.FromString("{}"), v1.MediaTypeEmptyJSON, none, unlinked, digest.FromString("elsewhere")))
	top := index(t, s, repo, map[string]digest.Digest{"linux/amd64": d, "linux/arm": digest.FromString("not here")})
	image := only(t, list(t, s), repo)
	require.Equal(t, top, image.Digest)
	require.Equal(t, []digest.Digest{none, unlinked}, image.Missing)
	require.False(t, image.Complete())

	// Its manifest has no link: the repository can't serve it.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "docker/registry/v2/repositories", repo, "_manifests/revisions/sha256", top.Encoded())))
	tag(t, s, repo, "latest", top)
	l := list(t, s)
	require.Len(t, l.Images, 2)
	for _, image := range l.Images {
		if len(image.Tags) > 0 {
			require.Equal(t, []digest.Digest{top}, image.Missing)
		}
	}
}

func TestListSurvivesADamagedStore(t *testing.T) {
	const repo = "quay.io/a"
	s, dir := open(t)
	good := pulled(t, s, repo, `{"os":"linux"}`)
	tag(t, s, repo, "good", good)
	damaged := commit(t, s, "{not JSON")
	require.NoError(t, s.Link(repo, images.Manifest, damaged))
	tag(t, s, repo, "damaged", damaged)
	gone := digest.FromString("gone")
	require.NoError(t, s.Link(repo, images.Manifest, gone))
	tag(t, s, repo, "gone", gone)
	base := filepath.Join(dir, "docker/registry/v2/repositories", repo)
	for path, content := range map[string]string{
		"_manifests/tags/torn/current/link":  "sha256:12",
		"_manifests/tags/empty/current/link": "",
		"_manifests/tags/file":               "x",
		"_manifests/revisions/sha256/short":  "x",
		"_layers/file":                       "x",
		"file":                               "x",
		"b/_manifests":                       "x",
		"b/_layers":                          "x",
		"c/_manifests/revisions":             "x",
		"../d/_manifests/tags":               "x",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(base, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(base, path), []byte(content), 0o600))
	}
	// Bytes that are not those of the digest, and so can list themselves.
	cycle := digest.FromString("cycle")
	require.NoError(t, os.MkdirAll(filepath.Dir(s.BlobPath(cycle)), 0o755))
	require.NoError(t, os.WriteFile(s.BlobPath(cycle), fmt.Appendf(nil, `{"manifests":[{"digest":%q}]}`, cycle), 0o600))
	require.NoError(t, s.Link("quay.io/cycle", images.Manifest, cycle))

	require.NoError(t, s.Link("quay.io/d", images.Manifest, good))

	l := list(t, s)
	byTag := map[string]images.Image{}
	for _, image := range l.Images {
		byTag[strings.Join(image.Tags, ",")] = image
	}
	require.Len(t, l.Images, 4)
	tags, err := s.Tags("quay.io/d")
	require.NoError(t, err)
	require.Empty(t, tags)
	require.True(t, byTag["good"].Complete() && !byTag["good"].Damaged)
	require.True(t, byTag["damaged"].Damaged && !byTag["damaged"].Complete())
	require.Equal(t, cycle, only(t, l, "quay.io/cycle").Digest)
}

func TestListOfUnknownMediaTypes(t *testing.T) {
	s, _ := open(t)
	content := []byte(`{"x":1}`)
	require.NoError(t, s.PutManifest("quay.io/a", digest.FromBytes(content), "application/vnd.example+json", content))
	image := only(t, list(t, s), "quay.io/a")
	require.Equal(t, "application/vnd.example+json", image.MediaType)
	require.True(t, image.Complete())
	pulled(t, s, "quay.io/b", `{"os":"\u001b[31m","architecture":"x"}`)
	require.Empty(t, only(t, list(t, s), "quay.io/b").Platforms, "nothing that a terminal obeys")
}

func TestListEndsWithTheContext(t *testing.T) {
	s, _ := open(t)
	pulled(t, s, repo, `{}`)
	v := take(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := v.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A million blobs of a hundred thousand manifests must fit in 300 MiB, twice
// what is live as the collector lets garbage grow as large.
func TestListTakesLittleMemory(t *testing.T) {
	spec := imagestest.OfBlobs(10_000)
	s := imagestest.Make(t, t.TempDir(), spec)
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	l := list(t, s)
	perBlob := (live() - before) / int64(spec.Blobs())
	require.Len(t, l.Images, spec.Images)
	require.Less(t, perBlob, int64(300<<20/1_000_000/2), "bytes a blob")
	runtime.KeepAlive(l)
}

func TestChildren(t *testing.T) {
	const repo = "quay.io/a"
	s, _ := open(t)
	amd, none := pulled(t, s, repo, `{}`), digest.FromString("none")
	elsewhere := pulled(t, s, "docker.io/b", `{"os":"x"}`)
	put(t, s, repo, fmt.Sprintf(`{"manifests":[{"mediaType":"a","digest":%q,"platform":{"os":"linux","architecture":"amd64"}},{"digest":%q},{"digest":%q}]}`,
		amd, none, elsewhere))
	l := list(t, s)
	got, err := l.Children(only(t, l, repo))
	require.NoError(t, err)
	require.Equal(t, []images.Child{
		{Digest: amd, MediaType: "a", Platform: "linux/amd64", Here: true}, {Digest: none}, {Digest: elsewhere},
	}, got)
	got, err = l.Children(only(t, l, "docker.io/b"))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestOpenExistingChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := images.OpenExisting(dir)
	require.NoError(t, err)
	require.Zero(t, list(t, s).All)
	require.Equal(t, []string{dir}, tree(t, dir))
	_, err = images.OpenExisting(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = images.OpenExisting(file)
	require.ErrorContains(t, err, "not a directory")
}
