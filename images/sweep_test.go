package images_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"registrycache/images"
)

func TestEvictLeavesReadersAlone(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "blob")
	used := time.Now().Add(-time.Hour)
	setTimes(t, s, d, used, used)
	f, _, err := s.OpenBlob(d)
	require.NoError(t, err)
	defer f.Close()

	require.ErrorIs(t, s.Evict(d, used.Add(-time.Second)), images.ErrUsed)
	require.NoError(t, s.Evict(d, used))
	require.NoDirExists(t, filepath.Dir(s.BlobPath(d)))
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "blob", string(got))

	require.ErrorIs(t, s.Evict(d, used), fs.ErrNotExist)
	require.Equal(t, d, commit(t, s, "blob"), "it can land again")
}

// tree lists all files and directories of a store.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	return paths
}

// age makes all of a store look changed so long ago.
func age(t *testing.T, dir string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	for _, path := range tree(t, dir) {
		require.NoError(t, os.Chtimes(path, then, then))
	}
}

func sweep(t *testing.T, s *images.Store) images.Swept {
	t.Helper()
	swept, err := s.Sweep(context.Background(), images.Sweeping{Before: time.Now().Add(-time.Minute)})
	require.NoError(t, err)
	return swept
}

func TestSweepRemovesAnImageThatIsGone(t *testing.T) {
	s, dir := open(t)
	layer := commit(t, s, "layer")
	require.NoError(t, s.Link(repo, images.Layer, layer))
	m := putImage(t, s, repo, layer)
	odd := []byte(`{"odd":true}`)
	require.NoError(t, s.PutManifest(repo, digest.FromBytes(odd), "application/odd", odd))
	require.NoError(t, s.SetTag(repo, "latest", m))
	require.NoError(t, s.PutReferrers(repo, m, []byte(`{}`)))
	age(t, dir, 48*time.Hour)

	full := tree(t, dir)
	require.Zero(t, sweep(t, s), "nothing dangles yet")
	require.Equal(t, full, tree(t, dir))

	for _, d := range []digest.Digest{layer, m, digest.FromBytes(odd)} {
		require.NoError(t, s.Evict(d, time.Now()))
	}
	swept := sweep(t, s)
	// layer, two manifests, one media type, two links of the tag, referrers
	require.Equal(t, 7, swept.Links)
	_, _, err := s.Tag(repo, "latest")
	require.ErrorIs(t, err, fs.ErrNotExist)
	age(t, dir, time.Hour) // the directories of blobs changed when those went
	sweep(t, s)
	for _, sub := range []string{"blobs/sha256", "repositories"} {
		entries, err := os.ReadDir(filepath.Join(dir, "docker/registry/v2", sub))
		require.NoError(t, err)
		require.Empty(t, entries, sub)
	}
}

func TestSweepKeepsWhatIsHere(t *testing.T) {
	s, dir := open(t)
	kept := putImage(t, s, repo)
	gone := putImage(t, s, repo, digest.FromString("layer"))
	require.NoError(t, s.SetTag(repo, "moved", gone))
	require.NoError(t, s.SetTag(repo, "moved", kept))
	require.NoError(t, s.SetTag(repo, "old", gone))
	root := filepath.Join(dir, "docker/registry/v2/repositories")
	foreign := filepath.Join(root, repo, "_other/file")
	require.NoError(t, os.MkdirAll(filepath.Dir(foreign), 0o755))
	require.NoError(t, os.WriteFile(foreign, nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, repo, "_layers"), nil, 0o600))
	age(t, dir, 48*time.Hour)
	require.NoError(t, s.Evict(gone, time.Now()))

	require.Equal(t, 4, sweep(t, s).Links) // a revision, and of the tags one and two
	tags, err := s.Tags(repo)
	require.NoError(t, err)
	require.Equal(t, []string{"moved"}, tags)
	require.True(t, s.HasLink(repo, images.Manifest, kept))
	require.False(t, s.HasLink(repo, images.Manifest, gone))
	require.FileExists(t, foreign)
}

func TestSweepLeavesWhatIsNewAlone(t *testing.T) {
	s, dir := open(t)
	require.NoError(t, s.Link(repo, images.Layer, digest.FromString("about to land")))
	require.NoError(t, s.SetTag(repo, "new", digest.FromString("about to land")))
	base := filepath.Join(dir, "docker/registry/v2/repositories", repo)
	require.NoError(t, os.MkdirAll(filepath.Join(base, "_uploads/1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(base, "_layers/.tmp-1"), nil, 0o600))
	before := tree(t, dir)
	require.Zero(t, sweep(t, s))
	require.Equal(t, before, tree(t, dir))
}

func TestSweepRemovesWhatKilledProcessesLeave(t *testing.T) {
	s, dir := open(t)
	root := filepath.Join(dir, "docker/registry/v2")
	base := filepath.Join(root, "repositories", repo)
	abandoned := filepath.Join(base, "_uploads/1")
	resumed := filepath.Join(base, "_uploads/2")
	for _, path := range []string{abandoned, resumed} {
		require.NoError(t, os.MkdirAll(filepath.Join(path, "hashstates"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(base, ".tmp-7"), nil, 0o600))
	torn := filepath.Join(base, "_manifests/tags/torn/current/link")
	require.NoError(t, os.MkdirAll(filepath.Dir(torn), 0o755))
	require.NoError(t, os.WriteFile(torn, []byte("sha256:12"), 0o600))
	d := digest.FromString("evicted halfway")
	require.NoError(t, os.MkdirAll(filepath.Dir(s.BlobPath(d)), 0o755))
	fill := s.FillDir(digest.FromString("under way"))
	require.NoError(t, os.MkdirAll(fill, 0o755))
	age(t, dir, 48*time.Hour)
	require.NoError(t, os.WriteFile(filepath.Join(resumed, "data"), []byte("more"), 0o600))

	swept := sweep(t, s)
	require.Equal(t, 1, swept.Uploads)
	require.Zero(t, swept.Files, "another sweep may have taken it aside just now, whatever its age")
	require.Equal(t, 1, swept.Links)
	require.NoDirExists(t, abandoned)
	require.DirExists(t, resumed)
	require.NoDirExists(t, filepath.Join(base, "_manifests"))
	require.NoDirExists(t, filepath.Dir(s.BlobPath(d)))
	require.DirExists(t, fill)

	swept, err := s.Sweep(context.Background(), images.Sweeping{Before: time.Now().Add(time.Minute)})
	require.NoError(t, err)
	require.Equal(t, 1, swept.Files)
	require.NoFileExists(t, filepath.Join(base, ".tmp-7"))
}

// A command may sweep beside the cleaner: neither trips over the other, nor
// takes away what the other is about to put back.
func TestSweepBesideSweeps(t *testing.T) {
	s, dir := open(t)
	m := putImage(t, s, repo)
	for i := range 200 {
		require.NoError(t, s.SetTag(repo, fmt.Sprint("here", i), m))
		require.NoError(t, s.SetTag(repo, fmt.Sprint("gone", i), digest.FromString("gone")))
	}
	age(t, dir, 48*time.Hour)
	var sweeps errgroup.Group
	for range 4 {
		sweeps.Go(func() error {
			_, err := s.Sweep(context.Background(), images.Sweeping{Before: time.Now().Add(-time.Minute)})
			return err
		})
	}
	require.NoError(t, sweeps.Wait())
	tags, err := s.Tags(repo)
	require.NoError(t, err)
	require.Len(t, tags, 200)
	require.NotContains(t, strings.Join(tree(t, dir), "\n"), ".tmp-")
}

func TestSweepGoesOnBesideTheWrongKindOfThing(t *testing.T) {
	s, dir := open(t)
	base := filepath.Join(dir, "docker/registry/v2/repositories", repo)
	for _, path := range []string{"_manifests/tags/a/current/link/dir", "_manifests/revisions", "_uploads"} {
		require.NoError(t, os.MkdirAll(filepath.Join(base, path), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(base, "_layers"), nil, 0o600))
	torn := filepath.Join(base, "_manifests/tags/torn/current/link")
	require.NoError(t, os.MkdirAll(filepath.Dir(torn), 0o755))
	require.NoError(t, os.WriteFile(torn, nil, 0o600))
	age(t, dir, 48*time.Hour)
	require.NoError(t, os.Symlink("_referrers", filepath.Join(base, "_referrers")))
	require.Equal(t, 1, sweep(t, s).Links)
	require.NoFileExists(t, torn)
	require.DirExists(t, filepath.Join(base, "_manifests/tags/a/current/link/dir"))
}

func TestSweepGoesOnBesideWhatCanNotBeSwept(t *testing.T) {
	s, dir := open(t)
	gone := digest.FromString("gone")
	for i := range 50 {
		require.NoError(t, s.Link(fmt.Sprint("quay.io/", i), images.Layer, gone))
	}
	stuck := filepath.Join(dir, "docker/registry/v2/repositories/quay.io/0/_layers", "sha256", gone.Encoded(), "link")
	require.NoError(t, os.Remove(stuck))
	require.NoError(t, os.MkdirAll(filepath.Join(stuck, "not empty"), 0o755))
	age(t, dir, 48*time.Hour)
	swept, err := s.Sweep(context.Background(), images.Sweeping{Before: time.Now()})
	require.ErrorContains(t, err, stuck)
	require.Equal(t, 49, swept.Links)
}

// A worker stores a manifest again while the links of the evicted one are
// being swept: whoever comes first, the links are there in the end.
func TestSweepBesidePulls(t *testing.T) {
	s, dir := open(t)
	m := putImage(t, s, repo)
	payload, mediaType, err := s.Manifest(repo, m)
	require.NoError(t, err)
	require.NoError(t, s.SetTag(repo, "latest", m))
	for i := range 100 {
		age(t, dir, time.Hour)
		require.NoError(t, s.Evict(m, time.Now()))
		var wg sync.WaitGroup
		wg.Go(func() { sweep(t, s) })
		wg.Go(func() {
			require.NoError(t, s.PutManifest(repo, m, mediaType, payload))
			require.NoError(t, s.SetTag(repo, "latest", m))
		})
		wg.Wait()
		_, got, err := s.Manifest(repo, m)
		require.NoError(t, err, i)
		require.Equal(t, mediaType, got)
		d, _, err := s.Tag(repo, "latest")
		require.NoError(t, err, i)
		require.Equal(t, m, d)
	}
}

func BenchmarkSweep(b *testing.B) {
	s, err := images.Open(b.TempDir())
	require.NoError(b, err)
	const n = 5000
	for i := range n {
		d := digest.FromString(fmt.Sprint(i))
		require.NoError(b, s.Link(fmt.Sprintf("quay.io/%d", i%50), images.Layer, d))
		require.NoError(b, os.MkdirAll(filepath.Dir(s.BlobPath(d)), 0o755))
		require.NoError(b, os.WriteFile(s.BlobPath(d), nil, 0o600))
	}
	for b.Loop() {
		swept, err := s.Sweep(b.Context(), images.Sweeping{Before: time.Now().Add(-time.Minute)})
		require.NoError(b, err)
		require.Zero(b, swept)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/link")
}

// sweepEvicted evicts blobs after the store was looked at, and sweeps.
func sweepEvicted(t *testing.T, s *images.Store, gone ...digest.Digest) images.Swept {
	t.Helper()
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	require.NoError(t, v.Relate(context.Background()))
	went := make([]bool, len(v.Blobs))
	var places []int32
	for _, d := range gone {
		i, here := v.Find(d)
		require.True(t, here)
		went[i] = true
		places = append(places, i)
	}
	for _, err := range v.Evict(places) {
		require.NoError(t, err)
	}
	swept, err := v.SweepEvicted(context.Background(), went, images.Sweeping{Before: time.Now().Add(time.Minute)})
	require.NoError(t, err)
	return swept
}

func TestSweepEvictedFindsAllThatLedToAnImage(t *testing.T) {
	s, dir := open(t)
	layer := commit(t, s, "layer")
	require.NoError(t, s.Link(repo, images.Layer, layer))
	m := putImage(t, s, repo, layer)
	require.NoError(t, s.Link("quay.io/other", images.Manifest, m))
	require.NoError(t, s.Link("quay.io/other", images.Layer, layer))
	odd := []byte(`{"odd":true}`)
	require.NoError(t, s.PutManifest(repo, digest.FromBytes(odd), "application/odd", odd))
	require.NoError(t, s.SetTag(repo, "latest", m))
	elsewhere := digest.FromString("went before")
	require.NoError(t, s.Link(repo+"/below", images.Layer, elsewhere))

	swept := sweepEvicted(t, s, m, layer, digest.FromBytes(odd))
	require.Equal(t, 8, swept.Links) // layer, manifest twice, odd with media type, two of the tag
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/quay.io/other"))
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories", repo, "_manifests"))
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories", repo, "_layers"))
	require.True(t, s.HasLink(repo+"/below", images.Layer, elsewhere), "it is not looked for")
}

func TestSweepEvictedKeepsTheRestOfARepository(t *testing.T) {
	s, _ := open(t)
	shared, own := commit(t, s, "shared"), commit(t, s, "own")
	require.NoError(t, s.Link(repo, images.Layer, shared))
	require.NoError(t, s.Link(repo, images.Layer, own))
	kept, gone := putImage(t, s, repo, shared), putImage(t, s, repo, shared, own)
	require.NoError(t, s.SetTag(repo, "moved", gone))
	require.NoError(t, s.SetTag(repo, "moved", kept))
	require.NoError(t, s.SetTag(repo, "old", gone))

	require.Equal(t, 5, sweepEvicted(t, s, gone, own).Links)
	tags, err := s.Tags(repo)
	require.NoError(t, err)
	require.Equal(t, []string{"moved"}, tags)
	for d, k := range map[digest.Digest]images.Kind{kept: images.Manifest, shared: images.Layer} {
		require.True(t, s.HasLink(repo, k, d))
	}
	require.False(t, s.HasLink(repo, images.Layer, own))
}

func TestSweepEvictedFindsLayersOfNoImage(t *testing.T) {
	s, dir := open(t)
	loose, other := commit(t, s, "loose"), commit(t, s, "other")
	for _, d := range []digest.Digest{loose, other} {
		require.NoError(t, s.Link("quay.io/a/b", images.Layer, d))
	}
	require.NoError(t, s.Link("quay.io/c", images.Layer, loose))
	stray := filepath.Join(dir, "docker/registry/v2/repositories/quay.io/stray/_layers")
	require.NoError(t, os.MkdirAll(filepath.Dir(stray), 0o755))
	require.NoError(t, os.WriteFile(stray, nil, 0o600))
	require.Equal(t, 2, sweepEvicted(t, s, loose).Links)
	require.True(t, s.HasLink("quay.io/a/b", images.Layer, other))
	require.False(t, s.HasLink("quay.io/a/b", images.Layer, loose))
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/quay.io/c"))
}

func TestEvictManyLeavesWhatIsUsed(t *testing.T) {
	s, _ := open(t)
	var all []digest.Digest
	for i := range 100 {
		all = append(all, commit(t, s, fmt.Sprint("blob ", i)))
	}
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	used, stuck, went := all[7], all[8], all[9]
	require.NoError(t, s.Touch(used, time.Now().Add(time.Minute)))
	require.NoError(t, s.Evict(went, time.Now()))
	require.NoError(t, os.Remove(s.BlobPath(stuck)))
	require.NoError(t, os.Mkdir(s.BlobPath(stuck), 0o700))
	require.NoError(t, os.Chtimes(s.BlobPath(stuck), time.Unix(1, 0), time.Unix(1, 0)))
	places := make([]int32, len(all))
	for i, d := range all {
		places[i], _ = v.Find(d)
	}
	answers := v.Evict(places)
	for i, d := range all {
		_, err := os.Lstat(s.BlobPath(d))
		switch d {
		case used:
			require.ErrorIs(t, answers[i], images.ErrUsed)
			require.NoError(t, err)
		case stuck:
			require.ErrorContains(t, answers[i], stuck.Encoded())
			require.NoError(t, err)
		case went:
			require.ErrorIs(t, answers[i], fs.ErrNotExist)
		default:
			require.NoError(t, answers[i])
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
	require.Empty(t, v.Evict(nil))
}
