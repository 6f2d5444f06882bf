package images_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

const repo = "quay.io/podman/hello"

func open(t *testing.T) (*images.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := images.Open(dir)
	require.NoError(t, err)
	return s, dir
}

func commit(t *testing.T, s *images.Store, content string) digest.Digest {
	t.Helper()
	d := digest.FromString(content)
	require.NoError(t, os.MkdirAll(s.FillDir(d), 0o755))
	f, err := os.Create(filepath.Join(s.FillDir(d), "data"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(content)
	require.NoError(t, err)
	require.NoError(t, s.Commit(f, d))
	return d
}

func TestLayoutIsDistributions(t *testing.T) {
	s, dir := open(t)
	d := commit(t, s, "layer")
	require.NoError(t, s.Link(repo, images.Layer, d))
	m := []byte(`{"mediaType":"` + v1.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	md := digest.FromBytes(m)
	require.NoError(t, s.PutManifest(repo, md, v1.MediaTypeImageManifest, m))
	require.NoError(t, s.SetTag(repo, "latest", md))

	root := filepath.Join(dir, "docker/registry/v2")
	base := filepath.Join(root, "repositories", repo)
	for path, content := range map[string]string{
		filepath.Join(root, "blobs/sha256", d.Encoded()[:2], d.Encoded(), "data"):        "layer",
		filepath.Join(root, "blobs/sha256", md.Encoded()[:2], md.Encoded(), "data"):      string(m),
		filepath.Join(base, "_layers/sha256", d.Encoded(), "link"):                       d.String(),
		filepath.Join(base, "_manifests/revisions/sha256", md.Encoded(), "link"):         md.String(),
		filepath.Join(base, "_manifests/tags/latest/current/link"):                       md.String(),
		filepath.Join(base, "_manifests/tags/latest/index/sha256", md.Encoded(), "link"): md.String(),
	} {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(got), path)
	}
	require.NoFileExists(t, filepath.Join(base, "_manifests/revisions/sha256", md.Encoded(), "mediatype"))
}

func TestBlobIsAbsentUntilCommitted(t *testing.T) {
	s, _ := open(t)
	d := digest.FromString("blob")
	_, err := s.StatBlob(d)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, d, commit(t, s, "blob"))
	f, size, err := s.OpenBlob(d)
	require.NoError(t, err)
	defer f.Close()
	require.EqualValues(t, 4, size)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "blob", string(got))
}

func TestCommitAgainKeepsOpenFilesReadable(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "blob")
	f, _, err := s.OpenBlob(d)
	require.NoError(t, err)
	defer f.Close()
	commit(t, s, "blob")
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "blob", string(got))
}

func TestTornLinkReadsAsAbsent(t *testing.T) {
	s, dir := open(t)
	d := commit(t, s, "layer")
	require.NoError(t, s.Link(repo, images.Layer, d))
	require.NoError(t, s.SetTag(repo, "latest", d))
	for _, content := range []string{"", "sha256:123", "\x00\x00\x00"} {
		base := filepath.Join(dir, "docker/registry/v2/repositories", repo)
		require.NoError(t, os.WriteFile(filepath.Join(base, "_layers/sha256", d.Encoded(), "link"), []byte(content), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(base, "_manifests/tags/latest/current/link"), []byte(content), 0o600))
		require.False(t, s.HasLink(repo, images.Layer, d))
		_, _, err := s.Tag(repo, "latest")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	require.NoError(t, s.Link(repo, images.Layer, d))
	require.True(t, s.HasLink(repo, images.Layer, d))
}

func TestLinkIsOfOneRepositoryOnly(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "layer")
	require.NoError(t, s.Link("quay.io/a/b", images.Layer, d))
	require.False(t, s.HasLink("docker.io/a/b", images.Layer, d))
	require.False(t, s.HasLink("quay.io/a/b", images.Manifest, d))
}

func TestTags(t *testing.T) {
	s, _ := open(t)
	_, _, err := s.Tag(repo, "latest")
	require.ErrorIs(t, err, fs.ErrNotExist)
	first, second := digest.FromString("1"), digest.FromString("2")
	require.NoError(t, s.SetTag(repo, "latest", first))
	require.NoError(t, s.SetTag(repo, "latest", second))
	got, written, err := s.Tag(repo, "latest")
	require.NoError(t, err)
	require.Equal(t, second, got)
	require.False(t, written.IsZero())
	require.NoError(t, s.RemoveTag(repo, "latest"))
	_, _, err = s.Tag(repo, "latest")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestManifestKeepsBytesAndMediaType(t *testing.T) {
	s, _ := open(t)
	tests := map[string]struct{ content, mediaType string }{
		"oci manifest":                {`{"mediaType":"` + v1.MediaTypeImageManifest + `"}`, v1.MediaTypeImageManifest},
		"oci manifest, no media type": {`{"config":{},"layers":[] }`, v1.MediaTypeImageManifest},
		"oci index, no media type":    {`{"manifests":[]}`, v1.MediaTypeImageIndex},
		"docker list":                 {`{"mediaType":"` + images.MediaTypeDockerManifestList + `","manifests":[]}`, images.MediaTypeDockerManifestList},
		"header differs from content": {`{"mediaType":"application/a","manifests":[]}`, "application/b"},
		"unknown":                     {`{"x":1}`, "application/vnd.example+json"},
		"not JSON":                    {"\x00bytes", "application/octet-stream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := digest.FromString(tt.content)
			_, _, err := s.Manifest(repo, d)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, s.PutManifest(repo, d, tt.mediaType, []byte(tt.content)))
			payload, mediaType, err := s.Manifest(repo, d)
			require.NoError(t, err)
			require.Equal(t, tt.content, string(payload))
			require.Equal(t, tt.mediaType, mediaType)
			require.NoDirExists(t, s.FillDir(d))
		})
	}
}

func TestManifestOfAnotherRepositoryIsAbsent(t *testing.T) {
	s, _ := open(t)
	content := []byte(`{"manifests":[]}`)
	d := digest.FromBytes(content)
	require.NoError(t, s.PutManifest("quay.io/a", d, v1.MediaTypeImageIndex, content))
	_, _, err := s.Manifest("docker.io/a", d)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestManifestSizeLimit(t *testing.T) {
	s, _ := open(t)
	content := []byte(strings.Repeat(" ", images.MaxManifestSize+1))
	err := s.PutManifest(repo, digest.FromBytes(content), v1.MediaTypeImageIndex, content)
	require.ErrorIs(t, err, images.ErrManifestTooLarge)
}

// A read-only store can still be served from.
func TestOpenReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	s, dir := open(t)
	d := commit(t, s, "blob")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "docker/registry/v2/fills")))
	require.NoError(t, os.Chmod(filepath.Join(dir, "docker/registry/v2"), 0o555))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "docker/registry/v2"), 0o755) })
	s, err := images.Open(dir)
	require.NoError(t, err)
	_, err = s.StatBlob(d)
	require.NoError(t, err)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := images.Open(file)
	require.ErrorContains(t, err, "open the store")
	require.ErrorContains(t, err, file)
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:abc"}]}`))
	f.Add([]byte(`{"config":{"digest":1}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		doc, _ := images.ParseManifest(b)
		_ = doc.Type()
	})
}
