package images

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Needs are the digests a manifest can't be used without.
type Needs struct {
	// Manifests are those an index lists, for all platforms.
	Manifests []digest.Digest
	// Blobs are the config and the layers.
	Blobs []digest.Digest
}

// Needs returns what the manifest needs. A digest that is none is left out, as
// it can't be here.
func (m ManifestDoc) Needs() Needs {
	return Needs{Manifests: digests(m.Manifests), Blobs: digests(m.parts())}
}

// parts are what a manifest needs besides other manifests.
func (m ManifestDoc) parts() []v1.Descriptor {
	all := make([]v1.Descriptor, 0, len(m.Layers)+len(m.Blobs)+1)
	all = append(append(all, m.Layers...), m.Blobs...)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return all
}

// Descriptors are all that the manifest names, whatever it needs it for.
func (m ManifestDoc) Descriptors() []v1.Descriptor {
	all := append(m.parts(), m.Manifests...)
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	return all
}

// elsewhere says whether a part need not be here: layers with URLs lie at
// those, and nobody fetches the empty config of an artifact.
func elsewhere(desc v1.Descriptor) bool {
	return len(desc.URLs) > 0 || desc.MediaType == v1.MediaTypeEmptyJSON
}

func digests(list []v1.Descriptor) (all []digest.Digest) {
	for _, d := range list {
		if _, ok := keyOf(d.Digest); ok {
			all = append(all, d.Digest)
		}
	}
	return all
}

// Needs reads a manifest from the store and returns what it needs, without
// counting as a use of it. It returns fs.ErrNotExist when the manifest is not
// here.
func (s *Store) Needs(d digest.Digest) (Needs, error) {
	doc, err := s.readUnused(d)
	if err != nil {
		return Needs{}, err
	}
	return doc.Needs(), nil
}

// readUnused reads a manifest from the store without counting as a use of it.
func (s *Store) readUnused(d digest.Digest) (ManifestDoc, error) {
	f, err := openUnused(s.BlobPath(d))
	if err != nil {
		return ManifestDoc{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ManifestDoc{}, err
	}
	if info.Size() > MaxManifestSize {
		return ManifestDoc{}, ErrManifestTooLarge
	}
	payload := make([]byte, info.Size())
	if _, err := io.ReadFull(f, payload); err != nil {
		return ManifestDoc{}, err
	}
	return ParseManifest(payload)
}

// openUnused opens a file so that reading it leaves its access time alone,
// where the file is ours. It does not wait for the other end of a fifo.
func openUnused(path string) (*os.File, error) {
	const flags = os.O_RDONLY | unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, fs.ErrPermission) {
		return os.OpenFile(path, flags, 0)
	}
	return f, err
}
