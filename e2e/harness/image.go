package harness

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// Image makes an image for linux/amd64 of layers with that many random bytes,
// with Docker's media types.
func Image(t testing.TB, layers ...int) v1.Image {
	t.Helper()
	return image(t, types.DockerLayer, "amd64", layers)
}

// OCIImage is Image with OCI's media types.
func OCIImage(t testing.TB, layers ...int) v1.Image {
	t.Helper()
	img := mutate.MediaType(image(t, types.OCILayer, "amd64", layers), types.OCIManifestSchema1)
	return mutate.ConfigMediaType(img, types.OCIConfigJSON)
}

// Index makes an OCI index of two images, for linux/amd64 and linux/arm64.
func Index(t testing.TB, layer int) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		img := mutate.MediaType(image(t, types.OCILayer, arch, []int{layer, layer}), types.OCIManifestSchema1)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        mutate.ConfigMediaType(img, types.OCIConfigJSON),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index
}

func image(t testing.TB, layerType types.MediaType, arch string, sizes []int) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"},
	})
	require.NoError(t, err)
	for i, size := range sizes {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("layer-%d", i), Mode: 0o644, Size: int64(size)}))
		_, err := w.Write(content)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		layer, err := tarball.LayerFromOpener(
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
			tarball.WithMediaType(layerType))
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(t, err)
	}
	return img
}

// Digest is the digest of an image or index.
func Digest(t testing.TB, content interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := content.Digest()
	require.NoError(t, err)
	return d.String()
}

// Manifest is the manifest of an image or index, byte for byte.
func Manifest(t testing.TB, content interface{ RawManifest() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := content.RawManifest()
	require.NoError(t, err)
	return raw
}

// Layer is the digest and content of the n-th layer of an image, as it is
// transferred.
func Layer(t testing.TB, img v1.Image, n int) (string, []byte) {
	t.Helper()
	layers, err := img.Layers()
	require.NoError(t, err)
	r, err := layers[n].Compressed()
	require.NoError(t, err)
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	return Digest(t, layers[n]), content
}
