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
	n := Needs{Manifests: digests(m.Manifests), Blobs: digests(m.Layers, m.Blobs)}
	if m.Config != nil {
		n.Blobs = append(n.Blobs, digests([]v1.Descriptor{*m.Config})...)
	}
	return n
}

func digests(lists ...[]v1.Descriptor) (all []digest.Digest) {
	for _, list := range lists {
		for _, d := range list {
			if d.Digest.Validate() == nil {
				all = append(all, d.Digest)
			}
		}
	}
	return all
}

// Needs reads a manifest from the store and returns what it needs, without
// counting as a use of it. It returns fs.ErrNotExist when the manifest is not
// here.
func (s *Store) Needs(d digest.Digest) (Needs, error) {
	f, err := openUnused(s.BlobPath(d))
	if err != nil {
		return Needs{}, err
	}
	defer f.Close()
	payload, err := io.ReadAll(io.LimitReader(f, MaxManifestSize+1))
	if err != nil {
		return Needs{}, err
	}
	if len(payload) > MaxManifestSize {
		return Needs{}, ErrManifestTooLarge
	}
	doc, err := ParseManifest(payload)
	if err != nil {
		return Needs{}, err
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
