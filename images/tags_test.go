package images_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

func TestTagsListsWhatIsKnown(t *testing.T) {
	s, dir := open(t)
	tags, err := s.Tags(repo)
	require.NoError(t, err)
	require.Empty(t, tags)

	d := digest.FromString("m")
	for _, tag := range []string{"v2", "latest", "v10"} {
		require.NoError(t, s.SetTag(repo, tag, d))
	}
	tagDir := filepath.Join(dir, "docker/registry/v2/repositories", repo, "_manifests/tags")
	require.NoError(t, os.MkdirAll(filepath.Join(tagDir, "halfway"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tagDir, "v2/current/link"), nil, 0o644))

	tags, err = s.Tags(repo)
	require.NoError(t, err)
	require.Equal(t, []string{"latest", "v10"}, tags, "a torn link is no tag")
}

func TestConfirmTagMovesTheTimeOnly(t *testing.T) {
	s, dir := open(t)
	require.ErrorIs(t, s.ConfirmTag(repo, "latest"), fs.ErrNotExist)

	d := digest.FromString("m")
	require.NoError(t, s.SetTag(repo, "latest", d))
	link := filepath.Join(dir, "docker/registry/v2/repositories", repo, "_manifests/tags/latest/current/link")
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(link, old, old))

	require.NoError(t, s.ConfirmTag(repo, "latest"))
	got, at, err := s.Tag(repo, "latest")
	require.NoError(t, err)
	require.Equal(t, d, got)
	require.True(t, at.After(old.Add(47*time.Hour)))
}

func TestReferrersAreKeptPerRepository(t *testing.T) {
	s, _ := open(t)
	d := digest.FromString("subject")
	_, _, err := s.Referrers(repo, d)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, s.PutReferrers(repo, d, []byte(`{"manifests":[]}`)))
	got, at, err := s.Referrers(repo, d)
	require.NoError(t, err)
	require.Equal(t, `{"manifests":[]}`, string(got))
	require.WithinDuration(t, time.Now(), at, time.Minute)
	_, _, err = s.Referrers(repo+"2", d)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
