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

// Needs returns the digests of what a manifest can't be used without: the
// manifests of an index, and the config and layers of an image. A digest that
// is none is left out, as it can't be here.
func (m ManifestDoc) Needs() []digest.Digest {
	needs := make([]digest.Digest, 0, 1+len(m.Layers)+len(m.Manifests)+len(m.Blobs))
	add := func(d v1.Descriptor) {
		if d.Digest.Validate() == nil {
			needs = append(needs, d.Digest)
		}
	}
	if m.Config != nil {
		add(*m.Config)
	}
	for _, list := range [][]v1.Descriptor{m.Layers, m.Manifests, m.Blobs} {
		for _, d := range list {
			add(d)
		}
	}
	return needs
}

// Needs reads a manifest from the store and returns what it needs, without
// counting as a use of it. It returns fs.ErrNotExist when the manifest is not
// here.
func (s *Store) Needs(d digest.Digest) ([]digest.Digest, error) {
	f, err := openUnused(s.BlobPath(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	payload, err := io.ReadAll(io.LimitReader(f, MaxManifestSize+1))
	if err != nil {
		return nil, err
	}
	if len(payload) > MaxManifestSize {
		return nil, ErrManifestTooLarge
	}
	doc, err := ParseManifest(payload)
	if err != nil {
		return nil, err
	}
	return doc.Needs(), nil
}

// openUnused opens a file so that reading it leaves its access time alone,
// where the file is ours.
func openUnused(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOATIME, 0)
	if errors.Is(err, fs.ErrPermission) {
		return os.Open(path)
	}
	return f, err
}
