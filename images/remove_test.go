package images_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

// target finds repository:tag or repository@digest in a listing.
func target(t testing.TB, l *images.Listing, name string) images.Target {
	t.Helper()
	if repo, d, ok := strings.Cut(name, "@"); ok {
		i := slices.IndexFunc(l.Images, func(i images.Image) bool { return i.Repository == repo && i.Digest.String() == d })
		require.GreaterOrEqual(t, i, 0, name)
		return images.Target{Image: i}
	}
	repo, tag, _ := strings.Cut(name, ":")
	i := slices.IndexFunc(l.Images, func(i images.Image) bool { return i.Repository == repo && slices.Contains(i.Tags, tag) })
	require.GreaterOrEqual(t, i, 0, name)
	return images.Target{Image: i, Tags: []string{tag}}
}

func planned(t testing.TB, s *images.Store, names ...string) *images.Removal {
	t.Helper()
	l := list(t, s)
	var targets []images.Target
	for _, name := range names {
		targets = append(targets, target(t, l, name))
	}
	return l.PlanRemoval(targets)
}

func removed(t testing.TB, s *images.Store, names ...string) *images.Removal {
	t.Helper()
	r := planned(t, s, names...)
	want := r.Freed
	require.NoError(t, r.Run(context.Background()))
	if r.Busy == 0 {
		require.Equal(t, want, r.Freed, "what was planned is what happened")
	}
	return r
}

// names are all images that a store has, as repository:tags.
func names(t testing.TB, s *images.Store) (list []string) {
	t.Helper()
	l, err := take(t, s).List(context.Background())
	require.NoError(t, err)
	for _, image := range l.Images {
		list = append(list, image.Repository+":"+strings.Join(image.Tags, ","))
	}
	return list
}

func TestRemoveAnImage(t *testing.T) {
	s, dir := open(t)
	base := commit(t, s, "base")
	a := pulled(t, s, "quay.io/org/a", `{"os":"a"}`, base, commit(t, s, "a"))
	tag(t, s, "quay.io/org/a", "1", a)
	b := pulled(t, s, "quay.io/b", `{"os":"b"}`, base)
	tag(t, s, "quay.io/b", "1", b)
	require.NoError(t, s.PutReferrers("quay.io/org/a", a, []byte("{}")))
	before := tree(t, dir)

	r := planned(t, s, "quay.io/org/a:1")
	require.Equal(t, []images.RemovedTag{{Repository: "quay.io/org/a", Tag: "1", Digest: a}}, r.Tags)
	require.Len(t, r.Images, 1)
	require.Equal(t, images.Amount{Blobs: 3, Bytes: 3 * 4096}, r.Freed)
	require.Equal(t, before, tree(t, dir), "a plan changes nothing")

	growth := s.Growth()
	require.NoError(t, growth.Reset())
	removed(t, s, "quay.io/org/a:1")
	require.Equal(t, []string{"quay.io/b:1"}, names(t, s))
	bytes, err := growth.Bytes()
	require.NoError(t, err)
	require.EqualValues(t, -3*4096, bytes, "a cleaner that runs learns of it")
	l := list(t, s)
	require.True(t, l.Images[0].Complete())
	require.Zero(t, l.Loose)
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/quay.io/org"), "nothing is left of the repository")
	require.False(t, s.HasLink("quay.io/org/a", images.Layer, base))

	removed(t, s, "quay.io/b:1")
	require.Zero(t, list(t, s).All)
	require.DirExists(t, filepath.Join(dir, "docker/registry/v2/repositories"))
}

func TestRemoveATagOfSeveral(t *testing.T) {
	s, _ := open(t)
	a := pulled(t, s, "quay.io/a", `{}`)
	for _, name := range []string{"1", "2", "3"} {
		tag(t, s, "quay.io/a", name, a)
	}
	r := removed(t, s, "quay.io/a:1")
	require.Empty(t, r.Images)
	require.Zero(t, r.Freed)
	require.Equal(t, "it is also tagged 2, 3", r.Tags[0].Stays)
	require.Equal(t, []string{"quay.io/a:2,3"}, names(t, s))

	r = removed(t, s, "quay.io/a:3", "quay.io/a:2")
	require.Len(t, r.Tags, 2)
	require.Len(t, r.Images, 1)
	require.Zero(t, list(t, s).All)
}

func TestRemoveByDigestTakesAllTags(t *testing.T) {
	s, _ := open(t)
	a := pulled(t, s, "quay.io/a", `{}`)
	tag(t, s, "quay.io/a", "1", a)
	tag(t, s, "quay.io/a", "2", a)
	require.Len(t, removed(t, s, "quay.io/a@"+a.String()).Tags, 2)
	require.Zero(t, list(t, s).All)
}

func TestRemoveWithAnIndex(t *testing.T) {
	const repo = "quay.io/a"
	s, _ := open(t)
	layer := commit(t, s, "layer")
	amd, arm := pulled(t, s, repo, `{"os":"amd"}`, layer), pulled(t, s, repo, `{"os":"arm"}`, layer)
	tag(t, s, repo, "latest", index(t, s, repo, map[string]digest.Digest{"linux/amd64": amd, "linux/arm64": arm}))
	tag(t, s, repo, "amd", amd)

	r := removed(t, s, repo+":amd")
	require.Empty(t, r.Images)
	require.Equal(t, "an index lists it", r.Tags[0].Stays)
	tag(t, s, repo, "amd", amd)

	r = removed(t, s, repo+":latest")
	require.Equal(t, 3, r.Freed.Blobs, "the index, and the other image with its config")
	require.Equal(t, []string{repo + ":amd"}, names(t, s))
	require.True(t, list(t, s).Images[0].Complete())
	require.False(t, s.HasLink(repo, images.Manifest, arm))

	tag(t, s, repo, "latest", index(t, s, repo, map[string]digest.Digest{"linux/amd64": amd}))
	r = removed(t, s, repo+":amd", repo+":latest")
	require.Len(t, r.Images, 2)
	require.Zero(t, list(t, s).All)
}

func TestRemoveFromOneOfTwoRepositories(t *testing.T) {
	s, _ := open(t)
	layer := commit(t, s, "layer")
	for _, repo := range []string{"quay.io/a", "docker.io/b"} {
		tag(t, s, repo, "1", pulled(t, s, repo, `{}`, layer))
	}
	d := list(t, s).Images[0].Digest
	r := removed(t, s, "quay.io/a:1")
	require.Len(t, r.Images, 1)
	require.Zero(t, r.Freed)
	require.False(t, s.HasLink("quay.io/a", images.Manifest, d) || s.HasLink("quay.io/a", images.Layer, layer),
		"the repository no longer serves it")
	require.Equal(t, []string{"docker.io/b:1"}, names(t, s))
	require.True(t, list(t, s).Images[0].Complete())
}

func TestRemoveLeavesWhatIsUsedOrCameMeanwhile(t *testing.T) {
	const repo = "quay.io/a"
	s, _ := open(t)
	used, wanted := commit(t, s, "used"), commit(t, s, "wanted")
	d := pulled(t, s, repo, `{}`, used, wanted)
	tag(t, s, repo, "1", d)
	tag(t, s, repo, "2", d)

	v, err := s.Take(context.Background())
	require.NoError(t, err)
	other := putImage(t, s, "docker.io/b", wanted)
	require.NoError(t, v.Relate(context.Background()))
	l, err := v.List(context.Background())
	require.NoError(t, err)
	r := l.PlanRemoval([]images.Target{{Image: 0}})
	require.Equal(t, 3, r.Freed.Blobs)

	require.NoError(t, s.Touch(used, time.Now().Add(time.Minute)))
	tag(t, s, repo, "2", other)
	require.NoError(t, s.Link(repo, images.Layer, used)) // a pull has brought it
	require.NoError(t, r.Run(context.Background()))
	require.Equal(t, images.Amount{Blobs: 2, Bytes: 2 * 4096}, r.Freed)
	require.Equal(t, 1, r.Busy)
	for _, blob := range []digest.Digest{used, wanted, other} {
		_, err := s.StatBlob(blob)
		require.NoError(t, err)
	}
	require.True(t, s.HasLink(repo, images.Layer, used))
	require.Len(t, r.Tags, 1)
	named, _, err := s.Tag(repo, "2")
	require.NoError(t, err)
	require.Equal(t, other, named, "the tag names another image by now")
}

// countdown is a context that ends when it was asked so often.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever it ends, no image looks whole but is not.
func TestRemoveCanBeCutShort(t *testing.T) {
	const repo = "quay.io/a"
	for steps := range 4 {
		s, _ := open(t)
		amd, arm := pulled(t, s, repo, `{"os":"amd"}`, commit(t, s, "1")), pulled(t, s, repo, `{"os":"arm"}`, commit(t, s, "2"))
		top := index(t, s, repo, map[string]digest.Digest{"linux/amd64": amd, "linux/arm64": arm})
		tag(t, s, repo, "latest", top)
		r := planned(t, s, repo+":latest")
		err := r.Run(&countdown{Context: context.Background(), left: steps})
		if steps < 3 {
			require.ErrorIs(t, err, context.Canceled)
		} else {
			require.NoError(t, err)
		}
		here := func(d digest.Digest) bool { _, err := os.Stat(s.BlobPath(d)); return err == nil }
		require.Equal(t, steps < 1, here(top))
		require.Equal(t, steps < 2, here(amd) && here(arm))
		require.Equal(t, []int{7, 6, 4, 0}[steps], list(t, s).All.Blobs)
		require.Empty(t, names(t, s))
	}
}
