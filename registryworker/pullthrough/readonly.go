package pullthrough

import (
	"context"
	"io"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Distribution's interfaces are those of a registry that takes pushes. These
// are the methods that the app, being read-only, never calls.

type readOnlyManifests struct{}

func (readOnlyManifests) Exists(context.Context, digest.Digest) (bool, error) {
	return false, distribution.ErrUnsupported
}

func (readOnlyManifests) Put(context.Context, distribution.Manifest, ...distribution.ManifestServiceOption) (digest.Digest, error) {
	return "", distribution.ErrUnsupported
}

func (readOnlyManifests) Delete(context.Context, digest.Digest) error {
	return distribution.ErrUnsupported
}

type readOnlyTags struct{}

func (readOnlyTags) Tag(context.Context, string, v1.Descriptor) error {
	return distribution.ErrUnsupported
}

func (readOnlyTags) Untag(context.Context, string) error { return distribution.ErrUnsupported }

func (readOnlyTags) All(context.Context) ([]string, error) { return nil, distribution.ErrUnsupported }

func (readOnlyTags) Lookup(context.Context, v1.Descriptor) ([]string, error) {
	return nil, distribution.ErrUnsupported
}

type readOnlyBlobs struct{}

func (readOnlyBlobs) Get(context.Context, digest.Digest) ([]byte, error) {
	return nil, distribution.ErrUnsupported
}

func (readOnlyBlobs) Open(context.Context, digest.Digest) (io.ReadSeekCloser, error) {
	return nil, distribution.ErrUnsupported
}

func (readOnlyBlobs) Put(context.Context, string, []byte) (v1.Descriptor, error) {
	return v1.Descriptor{}, distribution.ErrUnsupported
}

func (readOnlyBlobs) Create(context.Context, ...distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	return nil, distribution.ErrUnsupported
}

func (readOnlyBlobs) Resume(context.Context, string) (distribution.BlobWriter, error) {
	return nil, distribution.ErrUnsupported
}

func (readOnlyBlobs) Delete(context.Context, digest.Digest) error { return distribution.ErrUnsupported }
