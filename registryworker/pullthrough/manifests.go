package pullthrough

import (
	"context"
	"fmt"
	"io"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"registrycache/images"
	"registrycache/logger/accesslog"
)

// manifestService gives out manifests by digest.
type manifestService struct {
	readOnlyManifests
	*repository
}

func (s manifestService) Get(ctx context.Context, d digest.Digest, opts ...distribution.ManifestServiceOption) (distribution.Manifest, error) {
	x := exchangeOf(ctx)
	if x.manifest != nil && x.manifest.digest == d {
		return x.manifest, nil
	}
	m, status, err := s.manifest(ctx, d)
	if err != nil {
		return nil, x.fail(err, errcode.ErrorCodeManifestUnknown)
	}
	switch {
	case !byTag(opts):
		x.answer(status, forever)
	case status != accesslog.Hit:
		// The tag was fresh, but its manifest had been evicted.
		x.w.Header().Set(accesslog.HeaderName, status.Header())
	}
	return m, nil
}

func byTag(opts []distribution.ManifestServiceOption) bool {
	for _, o := range opts {
		if _, ok := o.(distribution.WithTagOption); ok {
			return true
		}
	}
	return false
}

// manifest returns a manifest from the store, or else from the upstream.
func (r *repository) manifest(ctx context.Context, d digest.Digest) (*manifest, accesslog.CacheStatus, error) {
	if m := r.localManifest(d); m != nil {
		return m, accesslog.Hit, nil
	}
	if r.offline {
		return nil, "", r.offlineError("manifest "+r.remote+"@"+d.String(), errcode.ErrorCodeManifestUnknown)
	}
	got, joined, err := r.manifests.wait(ctx, r.name+"@"+d.String(), func(ctx context.Context) (fetchedManifest, error) {
		return r.fetchManifest(ctx, d)
	})
	if err != nil {
		return nil, "", err
	}
	if joined && got.status == accesslog.Miss {
		got.status = accesslog.Collapsed
	}
	return got.manifest, got.status, nil
}

// localManifest returns a manifest that the repository may serve, or nil. The
// bytes are checked: it costs microseconds, and what the disk has spoilt is
// fetched again.
func (r *repository) localManifest(d digest.Digest) *manifest {
	payload, mediaType, err := r.store.Manifest(r.name, d)
	if err != nil || mediaType == "" || d.Algorithm().FromBytes(payload) != d {
		return nil
	}
	return &manifest{digest: d, mediaType: mediaType, payload: payload}
}

type fetchedManifest struct {
	manifest *manifest
	status   accesslog.CacheStatus
}

// fetchManifest asks the upstream for a manifest and stores it. When another
// repository has brought the bytes already, the upstream is only asked whether
// this one has them too; that also spares a pull from Docker Hub's rate limit,
// which counts GETs.
func (r *repository) fetchManifest(ctx context.Context, d digest.Digest) (fetchedManifest, error) {
	m := &manifest{digest: d}
	status := accesslog.Miss
	var contentType string
	if m.payload = r.unlinkedManifest(d); m.payload != nil {
		desc, err := r.upstream.ResolveManifest(ctx, r.remote, d.String())
		if err != nil {
			return fetchedManifest{}, err
		}
		if desc.Digest != d {
			return fetchedManifest{}, r.wrongDigest(d, desc.Digest)
		}
		contentType, status = desc.MediaType, accesslog.Revalidated
	} else {
		var err error
		if contentType, m.payload, err = r.upstream.Manifest(ctx, r.remote, d); err != nil {
			return fetchedManifest{}, err
		}
		if got := d.Algorithm().FromBytes(m.payload); got != d {
			return fetchedManifest{}, r.wrongDigest(d, got)
		}
	}
	m.mediaType = mediaTypeOf(contentType, m.payload)
	if err := r.store.PutManifest(r.name, d, m.mediaType, m.payload); err != nil {
		r.fills.StoreFailed(err)
		status = accesslog.Passed
	}
	return fetchedManifest{manifest: m, status: status}, nil
}

func (r *repository) wrongDigest(want, got digest.Digest) error {
	return r.invalid("get manifest "+r.remote+"@"+want.String(), fmt.Errorf("the digest of what came is %s", got))
}

// unlinkedManifest returns the bytes of a manifest that is in the store for
// any repository, or nil.
func (r *repository) unlinkedManifest(d digest.Digest) []byte {
	f, size, err := r.store.OpenBlob(d)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if size > images.MaxManifestSize {
		return nil
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(f, payload); err != nil || d.Algorithm().FromBytes(payload) != d {
		return nil
	}
	return payload
}
