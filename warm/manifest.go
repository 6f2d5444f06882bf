package warm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest is the largest manifest there is, in bytes: the limit of the
// cache, of distribution and of containerd.
const maxManifest = 4 << 20

const dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"

// accepted is what a request for a manifest names: all kinds there are, and
// whatever else there may be.
var accepted = []string{
	v1.MediaTypeImageIndex,
	v1.MediaTypeImageManifest,
	dockerIndex,
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.oci.artifact.manifest.v1+json",
	"*/*",
}

func isIndex(mediaType string) bool {
	return mediaType == v1.MediaTypeImageIndex || mediaType == dockerIndex
}

// manifest is what of any manifest says what it needs.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	// Blobs are the parts of the former OCI artifact manifest.
	Blobs     []v1.Descriptor `json:"blobs"`
	Manifests []v1.Descriptor `json:"manifests"`
}

func parseManifest(payload []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(payload, &m); err != nil {
		return m, fmt.Errorf("the manifest can't be read: %w", err)
	}
	if m.SchemaVersion == 1 {
		return m, errors.New("the manifest is of Docker's schema 1, which the cache does not keep; push the image again with a present tool")
	}
	for _, d := range slices.Concat(m.blobs(), m.Manifests) {
		if err := d.Digest.Validate(); err != nil {
			return m, fmt.Errorf("the manifest names %q: %w", d.Digest, err)
		}
		if d.Size < 0 {
			return m, fmt.Errorf("the manifest says that %s has %d bytes", d.Digest, d.Size)
		}
	}
	return m, nil
}

// blobs are the config and the layers.
func (m *manifest) blobs() []v1.Descriptor {
	all := slices.Concat(m.Layers, m.Blobs)
	if m.Config != nil {
		all = append([]v1.Descriptor{*m.Config}, all...)
	}
	return all
}

// isForeign says whether a layer is to be had elsewhere, at the addresses that
// come with it, and not from a registry (OCI image specification, "Foreign" and
// non-distributable layers).
func isForeign(d v1.Descriptor) bool {
	return len(d.URLs) > 0 && (strings.Contains(d.MediaType, ".foreign.") || strings.Contains(d.MediaType, ".nondistributable."))
}
