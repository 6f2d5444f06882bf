package pullthrough

import (
	"mime"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
)

// manifest is one exactly as it came. Distribution's app looks for its own
// types to decide what a client can take; it passes one it does not know as it
// is, whatever the client accepts, which is what a cache must do: another
// answer than the upstream's would have another digest.
type manifest struct {
	digest    digest.Digest
	mediaType string
	payload   []byte
}

var _ distribution.Manifest = (*manifest)(nil)

func (m *manifest) Payload() (string, []byte, error) { return m.mediaType, m.payload, nil }

func (m *manifest) References() []v1.Descriptor {
	doc, err := images.ParseManifest(m.payload)
	if err != nil {
		return nil
	}
	return append(blobsOf(doc), doc.Manifests...)
}

// blobsOf lists what a manifest needs besides other manifests.
func blobsOf(doc images.ManifestDoc) []v1.Descriptor {
	var all []v1.Descriptor
	if doc.Config != nil {
		all = append(all, *doc.Config)
	}
	return append(append(all, doc.Layers...), doc.Blobs...)
}

// mediaTypeOf decides the media type of a manifest that came with a
// Content-Type. Some registries and proxies send one that says nothing, and
// clients refuse manifests with it.
func mediaTypeOf(contentType string, payload []byte) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err == nil && !saysNothing[t] {
		return t
	}
	if doc, err := images.ParseManifest(payload); err == nil && doc.Type() != "" {
		return doc.Type()
	}
	return octetStream
}

const octetStream = "application/octet-stream"

var saysNothing = map[string]bool{
	"": true, "application/json": true, octetStream: true, "text/plain": true, "text/html": true,
}
