package images_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

// setTimes makes a blob one that landed and was used at the given times.
func setTimes(t testing.TB, s *images.Store, d digest.Digest, used, landed time.Time) {
	t.Helper()
	require.NoError(t, os.Chtimes(s.BlobPath(d), used, landed))
}

func times(t *testing.T, s *images.Store, d digest.Digest) (used, landed time.Time) {
	t.Helper()
	info, err := os.Stat(s.BlobPath(d))
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return time.Unix(st.Atim.Unix()), info.ModTime()
}

// putImage stores a manifest that needs the digests.
func putImage(t *testing.T, s *images.Store, repo string, needs ...digest.Digest) digest.Digest {
	t.Helper()
	var layers []string
	for _, d := range needs {
		layers = append(layers, fmt.Sprintf(`{"digest":%q}`, d))
	}
	m := []byte(`{"mediaType":"` + v1.MediaTypeImageManifest + `","layers":[` + strings.Join(layers, ",") + `]}`)
	d := digest.FromBytes(m)
	require.NoError(t, s.PutManifest(repo, d, v1.MediaTypeImageManifest, m))
	return d
}

func TestTouchSetsTheAccessTimeAlone(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "blob")
	landed := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	setTimes(t, s, d, landed, landed)

	later := landed.Add(time.Hour + 5*time.Nanosecond)
	require.NoError(t, s.Touch(d, later))
	used, modified := times(t, s, d)
	require.True(t, used.Equal(later), used)
	require.True(t, modified.Equal(landed), modified)

	require.NoError(t, s.Touch(d, landed.Add(time.Minute)), "an earlier use is no news")
	used, _ = times(t, s, d)
	require.True(t, used.Equal(later), used)

	require.ErrorIs(t, s.Touch(digest.FromString("none"), later), fs.ErrNotExist)
}

func TestNeedsIsNoUse(t *testing.T) {
	s, _ := open(t)
	layer := digest.FromString("layer")
	m := putImage(t, s, repo, layer)
	// Any read would set this access time, also with relatime.
	landed := time.Now().Add(-time.Hour)
	setTimes(t, s, m, landed.Add(-48*time.Hour), landed)
	before, _ := times(t, s, m)

	needs, err := s.Needs(m)
	require.NoError(t, err)
	require.Equal(t, images.Needs{Blobs: []digest.Digest{layer}}, needs)
	after, _ := times(t, s, m)
	require.True(t, after.Equal(before), "%s, was %s", after, before)

	_, err = s.Needs(layer)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.Needs(commit(t, s, "not a manifest"))
	require.Error(t, err)
	_, err = s.Needs(commit(t, s, strings.Repeat(" ", images.MaxManifestSize+1)))
	require.ErrorIs(t, err, images.ErrManifestTooLarge)
}

func TestNeedsOfEveryKindOfManifest(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	for name, c := range map[string]struct {
		payload string
		want    images.Needs
	}{
		"image": {`{"config":{"digest":"` + a.String() + `"},"layers":[{"digest":"` + b.String() + `"}]}`,
			images.Needs{Blobs: []digest.Digest{b, a}}},
		"index": {`{"manifests":[{"digest":"` + a.String() + `"},{"digest":"` + b.String() + `"}]}`,
			images.Needs{Manifests: []digest.Digest{a, b}}},
		"artifact": {`{"blobs":[{"digest":"` + a.String() + `"}],"subject":{"digest":"` + b.String() + `"}}`,
			images.Needs{Blobs: []digest.Digest{a}}},
		"hostile": {`{"layers":[{"digest":"sha256:../../../../etc/passwd"},{"digest":""},{"digest":"` + b.String() + `"}]}`,
			images.Needs{Blobs: []digest.Digest{b}}},
		"empty": {`{}`, images.Needs{}},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := images.ParseManifest([]byte(c.payload))
			require.NoError(t, err)
			require.Equal(t, c.want, doc.Needs())
		})
	}
}

func TestSpace(t *testing.T) {
	s, _ := open(t)
	disk, err := s.Disk()
	require.NoError(t, err)
	require.Positive(t, disk.Size)
	require.LessOrEqual(t, disk.Free, disk.Size)

	before, err := s.FillBytes(context.Background())
	require.NoError(t, err)
	fill := s.FillDir(digest.FromString("large"))
	require.NoError(t, os.MkdirAll(fill, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(fill, "data"), make([]byte, 1<<20), 0o600))
	after, err := s.FillBytes(context.Background())
	require.NoError(t, err)
	require.GreaterOrEqual(t, after-before, int64(1<<20))
}
