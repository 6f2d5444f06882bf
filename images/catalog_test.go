package images_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func addRepository(t *testing.T, s *images.Store, name string) {
	t.Helper()
	m := []byte(`{"mediaType":"` + v1.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	require.NoError(t, s.PutManifest(name, digest.FromBytes(m), v1.MediaTypeImageManifest, m))
}

func TestRepositoriesAreSortedAndPaged(t *testing.T) {
	s, _ := open(t)
	names := []string{
		"docker.io/library/a", "docker.io/library/a-b", "docker.io/library/a.b", "docker.io/library/a/b",
		"docker.io/library/a/b/c", "docker.io/library/a0", "docker.io/library/a_b/c", "docker.io/lib/z",
		"quay.io-x/a", "quay.io/a", "quay.io.x/a", "gcr.io_5000/deep/er/and/deep/er",
	}
	for _, i := range rand.Perm(len(names)) {
		addRepository(t, s, names[i])
	}
	slices.Sort(names)

	all, more, err := s.Repositories(t.Context(), "", 100)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, names, all)

	for size := 1; size <= len(names); size++ {
		var got []string
		last := ""
		for more = true; more; {
			var page []string
			page, more, err = s.Repositories(t.Context(), last, size)
			require.NoError(t, err)
			require.NotEmpty(t, page)
			require.LessOrEqual(t, len(page), size)
			got = append(got, page...)
			last = page[len(page)-1]
		}
		require.Equal(t, names, got, "pages of %d", size)
	}

	after, _, err := s.Repositories(t.Context(), "docker.io/library/a1", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"docker.io/library/a_b/c", "gcr.io_5000/deep/er/and/deep/er"}, after, "last need not exist")
	none, more, err := s.Repositories(t.Context(), "zzz", 2)
	require.NoError(t, err)
	require.False(t, more)
	require.Empty(t, none)
	none, more, err = s.Repositories(t.Context(), "", 0)
	require.NoError(t, err)
	require.False(t, more)
	require.Empty(t, none)
}

func TestRepositoriesNeedAManifest(t *testing.T) {
	s, dir := open(t)
	addRepository(t, s, "quay.io/whole")
	d := commit(t, s, "layer")
	require.NoError(t, s.Link("quay.io/layers-only", images.Layer, d))
	require.NoError(t, s.SetTag("quay.io/tag-only", "latest", d))
	torn := filepath.Join(dir, "docker/registry/v2/repositories/quay.io/torn/_manifests/revisions/sha256", d.Encoded())
	require.NoError(t, os.MkdirAll(torn, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(torn, "link"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker/registry/v2/repositories/stray"), nil, 0o644))
	for _, stray := range []string{"a/_manifests", "b/_manifests/revisions/sha256"} {
		path := filepath.Join(dir, "docker/registry/v2/repositories", stray)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
	}

	names, more, err := s.Repositories(t.Context(), "", 10)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"quay.io/whole"}, names)
}

func TestRepositoriesEndsWithItsContext(t *testing.T) {
	s, _ := open(t)
	addRepository(t, s, "quay.io/a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.Repositories(ctx, "", 10)
	require.ErrorIs(t, err, context.Canceled)
}
