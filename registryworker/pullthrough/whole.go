package pullthrough

import (
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
)

// maxNesting is how deep indexes in indexes are followed.
const maxNesting = 3

// whole says whether an image can be pulled from the store alone: all blobs of
// a manifest, or those of one manifest of an index.
//
// Clients turn to another source only when the first manifest can't be had. A
// 200 for an index whose manifests or layers are not here ends their pull, so
// while the upstream fails such an image is better refused at once.
func (r *repository) whole(d digest.Digest) bool { return r.wholeTo(d, maxNesting) }

func (r *repository) wholeTo(d digest.Digest, depth int) bool {
	m := r.localManifest(d)
	if m == nil || depth == 0 {
		return false
	}
	doc, err := images.ParseManifest(m.payload)
	if err != nil {
		return false
	}
	for _, blob := range blobsOf(doc) {
		if !r.hasBlob(blob) {
			return false
		}
	}
	return len(doc.Manifests) == 0 || slices.ContainsFunc(doc.Manifests, func(child v1.Descriptor) bool {
		return !attestation(child) && r.wholeTo(child.Digest, depth-1)
	})
}

// hasBlob says whether a part of a manifest is here, or need not be: layers
// with URLs lie elsewhere by definition, and nobody fetches the empty config
// of an artifact.
func (r *repository) hasBlob(desc v1.Descriptor) bool {
	if len(desc.URLs) > 0 || desc.MediaType == v1.MediaTypeEmptyJSON {
		return true
	}
	if _, err := parseDigest(desc.Digest.String()); err != nil || !r.store.HasLink(r.name, images.Layer, desc.Digest) {
		return false
	}
	_, err := r.store.StatBlob(desc.Digest)
	return err == nil
}

// attestation says whether an entry of an index is one of BuildKit's
// attestations, which alone are no image.
func attestation(desc v1.Descriptor) bool {
	return desc.Platform != nil && desc.Platform.OS == "unknown"
}
