package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifestSize is the largest manifest the cache takes, in bytes; the same
// limit as distribution's and containerd's.
const MaxManifestSize = 4 << 20

// Media types of Docker's manifests, which image-spec does not define.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// ErrManifestTooLarge is returned for a manifest over MaxManifestSize.
var ErrManifestTooLarge = errors.New("manifest is larger than 4 MiB")

// ManifestDoc is the part of any manifest or index that says what it needs.
type ManifestDoc struct {
	MediaType string          `json:"mediaType"`
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
	Manifests []v1.Descriptor `json:"manifests"`
	Subject   *v1.Descriptor  `json:"subject"`
	// Blobs are the parts of the former OCI artifact manifest.
	Blobs []v1.Descriptor `json:"blobs"`
}

// ParseManifest reads what a manifest refers to.
func ParseManifest(payload []byte) (ManifestDoc, error) {
	var doc ManifestDoc
	err := json.Unmarshal(payload, &doc)
	return doc, err
}

// Type is the media type that the content itself shows, or "".
func (m ManifestDoc) Type() string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return v1.MediaTypeImageIndex
	case m.Config != nil:
		return v1.MediaTypeImageManifest
	}
	return ""
}

// Manifest returns the bytes and the media type of a manifest that the
// repository has. It returns fs.ErrNotExist when the link or the blob is gone.
func (s *Store) Manifest(repo string, d digest.Digest) (payload []byte, mediaType string, err error) {
	if !s.HasLink(repo, Manifest, d) {
		return nil, "", &fs.PathError{Op: "open manifest", Path: repo + "@" + d.String(), Err: fs.ErrNotExist}
	}
	f, size, err := s.OpenBlob(d)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if size > MaxManifestSize {
		return nil, "", ErrManifestTooLarge
	}
	if payload, err = io.ReadAll(io.LimitReader(f, MaxManifestSize)); err != nil {
		return nil, "", err
	}
	if t, err := os.ReadFile(s.mediaTypePath(repo, d)); err == nil && len(t) > 0 {
		return payload, string(t), nil
	}
	doc, err := ParseManifest(payload)
	if err != nil {
		return nil, "", err
	}
	return payload, doc.Type(), nil
}

// PutManifest stores a manifest and links it to the repository. The caller has
// verified the digest. A blob that is there with other bytes, spoilt by the
// disk, is replaced. The media type gets a file of its own only where the
// content does not show it.
func (s *Store) PutManifest(repo string, d digest.Digest, mediaType string, payload []byte) error {
	if len(payload) > MaxManifestSize {
		return ErrManifestTooLarge
	}
	if there, err := os.ReadFile(s.BlobPath(d)); err != nil || !bytes.Equal(there, payload) {
		if err := s.putBlob(d, payload); err != nil {
			return err
		}
	}
	if doc, err := ParseManifest(payload); err != nil || doc.Type() != mediaType {
		if err := writeFile(s.mediaTypePath(repo, d), []byte(mediaType)); err != nil {
			return err
		}
	}
	return s.Link(repo, Manifest, d)
}

func (s *Store) mediaTypePath(repo string, d digest.Digest) string {
	return filepath.Join(s.repoDir(repo), string(Manifest), digestPath(d), "mediatype")
}

// putBlob writes a small verified blob.
func (s *Store) putBlob(d digest.Digest, content []byte) error {
	f, err := createTemp(s.FillDir(d))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = s.Commit(f, d)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	_ = os.Remove(s.FillDir(d))
	return err
}
