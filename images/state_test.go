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

// What a process keeps for itself is no part of what the cache holds: nothing
// counts, lists or sweeps it.
func TestStateOfProcessesIsLeftAlone(t *testing.T) {
	s, dir := open(t)
	layer := commit(t, s, "layer")
	require.NoError(t, s.Link(repo, images.Layer, layer))
	m := putImage(t, s, repo, layer)
	require.NoError(t, s.SetTag(repo, "latest", m))
	look := func() (held int, listed *images.Listing) {
		v, err := s.Take(context.Background())
		require.NoError(t, err)
		require.NoError(t, v.Relate(context.Background()))
		listed, err = v.List(context.Background())
		require.NoError(t, err)
		return len(v.Blobs), listed
	}
	held, listed := look()

	for _, name := range []string{"traffic.json", "traffic.json.tmp", "traffic.json.damaged", ".tmp-1"} {
		path := s.StatePath(name)
		require.Equal(t, filepath.Join(dir, "docker/registry/v2/state", name), path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	}
	stillHeld, stillListed := look()
	require.Equal(t, held, stillHeld)
	require.Equal(t, listed.All, stillListed.All)
	require.Len(t, stillListed.Images, len(listed.Images))
	fills, err := s.FillBytes(context.Background())
	require.NoError(t, err)
	require.Zero(t, fills)

	age(t, dir, 48*time.Hour)
	require.Zero(t, sweep(t, s))
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	for _, d := range []digest.Digest{m, layer} {
		require.NoError(t, s.Evict(d, time.Now()))
	}
	_, err = v.Sweep(context.Background(), nil, images.Sweeping{Before: time.Now()})
	require.NoError(t, err)
	kept, err := os.ReadDir(s.StatePath(""))
	require.NoError(t, err)
	require.Len(t, kept, 4)
}
