package bench

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// The one image of an upstream, and the name that the upstream is cached under.
const (
	upstreamName = "quay.io"
	repository   = "bench/image"
	tag          = "latest"
)

// image is what an upstream has to offer.
type image struct {
	manifest content
	config   content
	layers   []content
}

func newImage(b *testing.B, layers ...content) image {
	b.Helper()
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.digest))
		manifest.Layers = append(manifest.Layers, descriptor(v1.MediaTypeImageLayer, l))
	}
	img := image{config: small(encode(b, config)), layers: layers}
	manifest.Config = descriptor(v1.MediaTypeImageConfig, img.config)
	img.manifest = small(encode(b, manifest))
	return img
}

func descriptor(mediaType string, c content) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(c.digest), Size: c.size}
}

func encode(b *testing.B, v any) []byte {
	b.Helper()
	raw, err := json.Marshal(v)
	require.NoError(b, err)
	return raw
}
