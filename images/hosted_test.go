package images_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func collected(t *testing.T, s *images.Store, targets ...string) *images.Removal {
	t.Helper()
	release, err := s.Collecting(t.Context())
	require.NoError(t, err)
	defer release()
	l := list(t, s)
	var chosen []images.Target
	for _, name := range targets {
		chosen = append(chosen, target(t, l, name))
	}
	r, err := l.PlanCollection(t.Context(), chosen)
	require.NoError(t, err)
	want := r.Freed
	require.NoError(t, r.Run(t.Context()))
	require.Equal(t, want, r.Freed, "what was planned is what happened")
	return r
}

func here(s *images.Store, d digest.Digest) bool {
	_, err := s.StatBlob(d)
	return err == nil
}

func TestCollectionTakesWhatNoImageNeeds(t *testing.T) {
	s, dir := open(t)
	base := commit(t, s, "base")
	app := pulled(t, s, "local/app", `{"os":"a"}`, base, commit(t, s, "app"))
	tag(t, s, "local/app", "1", app)
	other := pulled(t, s, "local/other", `{"os":"b"}`, base)
	tag(t, s, "local/other", "1", other)
	// What an abandoned push, and a manifest deleted through the API, left.
	orphan, deleted := commit(t, s, "orphan"), commit(t, s, "deleted")
	require.NoError(t, s.Link("local/left", images.Layer, orphan))

	r := collected(t, s, "local/app:1")
	require.Equal(t, 5, r.Freed.Blobs, "the image with its config and layer, and the two")
	require.False(t, here(s, orphan) || here(s, deleted))
	require.Equal(t, []string{"local/other:1"}, names(t, s))
	require.True(t, list(t, s).Images[0].Complete())
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/local/app"))
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/local/left"))
}

func TestCollectionKeepsWhatAPushReliesOn(t *testing.T) {
	const repo = "local/app"
	s, dir := open(t)
	base, fresh := commit(t, s, "base"), commit(t, s, "fresh")
	tag(t, s, repo, "1", pulled(t, s, repo, `{"os":"a"}`, base))
	require.NoError(t, s.Link(repo, images.Layer, fresh))
	require.NoError(t, s.Pledge(repo, base))
	require.NoError(t, s.Pledge(repo, fresh))

	r := collected(t, s, repo+":1")
	require.Equal(t, 2, r.Freed.Blobs, "the manifest and its config")
	require.Equal(t, 2, r.Pledged)
	for _, d := range []digest.Digest{base, fresh} {
		require.True(t, here(s, d))
		require.True(t, s.HasLink(repo, images.Layer, d), "the push will not link it again")
	}

	tag(t, s, repo, "2", pulled(t, s, repo, `{"os":"b"}`, base))
	s.Redeem(repo, images.Needs{Blobs: []digest.Digest{base}})
	require.Equal(t, 3, collected(t, s, repo+":2").Freed.Blobs)

	// An abandoned push is not waited for without end.
	old := time.Now().Add(-7 * time.Hour)
	pledge := filepath.Join(dir, "docker/registry/v2/repositories", repo, "_pledges/sha256", fresh.Encoded())
	require.NoError(t, os.Chtimes(pledge, old, old))
	require.Equal(t, 1, collected(t, s).Freed.Blobs)
	require.Zero(t, list(t, s).All)
	require.NoDirExists(t, filepath.Join(dir, "docker/registry/v2/repositories/local"), "nor is the pledge left")
}

func TestNothingIsCollectedBesideAManifestThatCannotBeRead(t *testing.T) {
	s, _ := open(t)
	layer := commit(t, s, "layer")
	tag(t, s, "local/whole", "1", pulled(t, s, "local/whole", `{}`))
	d := pulled(t, s, "local/spoilt", `{"os":"x"}`, layer)
	tag(t, s, "local/spoilt", "1", d)
	payload, err := os.ReadFile(s.BlobPath(d))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.BlobPath(d), payload[1:], 0o600))

	for _, targets := range [][]images.Target{nil, {target(t, list(t, s), "local/whole:1")}} {
		_, err = list(t, s).PlanCollection(t.Context(), targets)
		require.ErrorContains(t, err, "local/spoilt@"+d.String()+" can't be read")
	}
	require.NoError(t, os.WriteFile(s.BlobPath(d), payload, 0o600))
	require.Equal(t, 2, collected(t, s, "local/whole:1").Freed.Blobs)
	require.True(t, here(s, layer))

	require.NoError(t, os.WriteFile(s.BlobPath(d), payload[1:], 0o600))
	require.Equal(t, 3, collected(t, s, "local/spoilt:1").Freed.Blobs, "it may go itself")
	require.Zero(t, list(t, s).All)
}

func TestTwoPushesRelyOnOneBlob(t *testing.T) {
	const repo = "local/app"
	s, dir := open(t)
	base := commit(t, s, "base")
	require.NoError(t, s.Link(repo, images.Layer, base))
	for range 2 {
		require.NoError(t, s.Pledge(repo, base))
	}
	// The first push ends, and what it has pushed goes.
	tag(t, s, repo, "1", pulled(t, s, repo, `{"os":"a"}`, base))
	s.Redeem(repo, images.Needs{Blobs: []digest.Digest{base}})
	require.Equal(t, 1, collected(t, s, repo+":1").Pledged)
	require.True(t, s.HasLink(repo, images.Layer, base))

	// One that never ends, or that there never was, is not waited for long.
	pledge := filepath.Join(dir, "docker/registry/v2/repositories", repo, "_pledges/sha256", base.Encoded())
	info, err := os.Stat(pledge)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-6*time.Hour), info.ModTime(), 10*time.Minute)
	s.Redeem(repo, images.Needs{Blobs: []digest.Digest{base}})
	require.Equal(t, 1, collected(t, s).Freed.Blobs)
}

func TestCollectingWaitsForChanges(t *testing.T) {
	s, _ := open(t)
	one, err := s.Changing(t.Context())
	require.NoError(t, err)
	two, err := s.Changing(t.Context())
	require.NoError(t, err, "several may change the store")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Collecting(ctx)
	require.ErrorIs(t, err, context.Canceled)

	got := make(chan func())
	go func() {
		release, err := s.Collecting(context.Background())
		if err == nil {
			got <- release
		}
		close(got)
	}()
	one()
	select {
	case <-got:
		t.Fatal("the other still changes it")
	default:
	}
	two()
	release := <-got
	require.NotNil(t, release)
	_, err = s.Changing(ctx)
	require.ErrorIs(t, err, context.Canceled)
	release()
	again, err := s.Changing(t.Context())
	require.NoError(t, err)
	again()
}

func TestUsage(t *testing.T) {
	s, _ := open(t)
	before, err := s.Usage(t.Context())
	require.NoError(t, err)
	require.Zero(t, before)
	layer := commit(t, s, "layer")
	d := pulled(t, s, "local/team/app", `{}`, layer)
	tag(t, s, "local/team/app", "1", d)
	tag(t, s, "local/team/app", "2", d)
	require.NoError(t, s.Link("local/empty", images.Layer, layer))
	u, err := s.Usage(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, u.Repositories)
	require.Equal(t, 2, u.Tags)
	require.GreaterOrEqual(t, u.Bytes, int64(3*4096))
}

func TestRemoveLink(t *testing.T) {
	s, _ := open(t)
	d := pulled(t, s, "local/app", `{}`)
	count := func() (n int) {
		require.NoError(t, s.EachManifest(t.Context(), "local/app", func(digest.Digest) error { n++; return nil }))
		return n
	}
	require.Equal(t, 1, count())
	require.NoError(t, s.RemoveLink("local/app", images.Manifest, d))
	require.NoError(t, s.RemoveLink("local/app", images.Manifest, d))
	require.Zero(t, count())
	require.Empty(t, names(t, s))
	require.True(t, here(s, d))
}
