package pullthrough

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/fill"
	"registrycache/registryworker/upstream"
)

const (
	// headerRedirect names the blob that the router shall send in the answer's
	// stead (nginx's idiom).
	headerRedirect = "X-Accel-Redirect"
	// headerRefused is set by a router that did not find the file it was told
	// to send.
	headerRefused = "X-Accel-Refused"
)

// blobStore serves layers and configs.
type blobStore struct {
	readOnlyBlobs
	*repository
}

// Stat says yes to everything: the app calls it ahead of ServeBlob, which
// finds out by itself, and a question to the upstream for each would be one too
// many.
func (blobStore) Stat(_ context.Context, d digest.Digest) (v1.Descriptor, error) {
	return v1.Descriptor{Digest: d}, nil
}

// ServeBlob answers a GET or HEAD. The writer given is the app's, and not used.
func (s blobStore) ServeBlob(ctx context.Context, _ http.ResponseWriter, req *http.Request, d digest.Digest) error {
	x := exchangeOf(ctx)
	err := s.serve(ctx, x, req, d)
	if err != nil {
		return x.fail(err, errcode.ErrorCodeBlobUnknown)
	}
	return nil
}

func (s blobStore) serve(ctx context.Context, x *exchange, req *http.Request, d digest.Digest) error {
	if _, err := s.store.StatBlob(d); err == nil {
		status, err := s.permit(ctx, d)
		if err != nil {
			return err
		}
		if done, err := s.handOff(x, req, d, status); done || err != nil {
			return err
		}
	}
	switch {
	case s.offline:
		return s.offlineError("blob "+d.String()+" of "+s.remote, errcode.ErrorCodeBlobUnknown)
	case req.Method == http.MethodHead:
		return s.headUpstream(ctx, x, d)
	}
	return s.fill(ctx, x, req, d)
}

// permit says whether a blob that is in the store may be served from this
// repository, and asks the upstream if that is not known.
func (s blobStore) permit(ctx context.Context, d digest.Digest) (accesslog.CacheStatus, error) {
	// A fill that was begun for this repository has the upstream's word, and
	// links the blob before it ends: it is looked for first.
	if s.fills.Filling(s.name, d) || s.store.HasLink(s.name, images.Layer, d) {
		return accesslog.Hit, nil
	}
	if s.offline {
		return "", s.offlineError("blob "+d.String()+" of "+s.remote, errcode.ErrorCodeBlobUnknown)
	}
	if _, err := s.statBlob(ctx, d); err != nil {
		return "", err
	}
	// The logger will say so only later, and the cleaner may be about to take
	// away what nobody used. That it was quicker, the router finds out.
	_ = s.store.Touch(d, time.Now())
	if err := s.store.Link(s.name, images.Layer, d); err != nil {
		s.fills.StoreFailed(err)
	}
	return accesslog.Revalidated, nil
}

// handOff lets the router send the blob; it does so from here when the router
// could not. It is not done when the blob is gone.
func (s blobStore) handOff(x *exchange, req *http.Request, d digest.Digest, status accesslog.CacheStatus) (done bool, err error) {
	if req.Header.Get(headerRefused) == "" {
		setBlobHeaders(x, d, status)
		x.w.Header().Set(headerRedirect, d.String())
		x.w.Header().Set("Content-Length", "0")
		x.w.WriteHeader(http.StatusOK)
		return true, nil
	}
	f, _, err := s.store.OpenBlob(d)
	if err != nil {
		return false, nil
	}
	defer func() { _ = f.Close() }()
	setBlobHeaders(x, d, status)
	return true, serveContent(x.w, req, f)
}

// headUpstream answers a HEAD for a blob that is not here, without bringing it
// here.
func (s blobStore) headUpstream(ctx context.Context, x *exchange, d digest.Digest) error {
	size, err := s.statBlob(ctx, d)
	if err != nil {
		return err
	}
	setBlobHeaders(x, d, accesslog.Passed)
	x.w.Header().Set("Accept-Ranges", "bytes")
	if size >= 0 {
		x.w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// fill serves a blob while it is on its way into the store.
func (s blobStore) fill(ctx context.Context, x *exchange, req *http.Request, d digest.Digest) error {
	err := s.serveFill(ctx, x, req, d)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fill.ErrClosed), ctx.Err() != nil:
		// The router asks this worker's successor, or there is nobody to answer.
		panic(http.ErrAbortHandler)
	case errors.Is(err, fill.ErrWrongDigest):
		return s.invalid("get blob "+d.String()+" of "+s.remote, err)
	}
	return err
}

// serveFill returns why nothing was sent.
func (s blobStore) serveFill(ctx context.Context, x *exchange, req *http.Request, d digest.Digest) error {
	r, err := s.fills.Open(ctx, s.name, d, source{repository: s.repository, digest: d})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	status := accesslog.Miss
	switch {
	case !r.Stored():
		status = accesslog.Passed
	case r.Joined():
		status = accesslog.Collapsed
	}
	setBlobHeaders(x, d, status)
	if req.Header.Get(headerGrowing) != "" {
		return serveGrowing(x.w, req, r)
	}
	return serveContent(x.w, req, r)
}

func setBlobHeaders(x *exchange, d digest.Digest, status accesslog.CacheStatus) {
	x.answer(status, forever)
	h := x.w.Header()
	h.Set("Content-Type", octetStream)
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", strconv.Quote(d.String()))
}

// source is a blob of a repository, as the fill engine asks for it.
type source struct {
	*repository
	digest digest.Digest
}

var (
	_ fill.Source = source{}
	_ fill.Stater = source{}
)

func (s source) OpenBlob(ctx context.Context, offset, end int64) (*upstream.Blob, error) {
	return s.upstream.OpenBlob(ctx, s.remote, s.digest, offset, end)
}

func (s source) StatBlob(ctx context.Context) (int64, error) {
	return s.statBlob(ctx, s.digest)
}

// statBlob asks the upstream for the size of a blob, and thus whether it gives
// the blob to the repository: once for all who want to know at the same time.
func (r *repository) statBlob(ctx context.Context, d digest.Digest) (int64, error) {
	size, _, err := r.stats.wait(ctx, r.name+"@"+d.String(), func(ctx context.Context) (int64, error) {
		return r.upstream.StatBlob(ctx, r.remote, d)
	})
	return size, err
}
