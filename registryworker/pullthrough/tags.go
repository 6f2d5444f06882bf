package pullthrough

import (
	"context"
	"io"
	"slices"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

// tagService resolves and lists tags.
type tagService struct {
	readOnlyTags
	*repository
}

func (s tagService) Get(ctx context.Context, tag string) (v1.Descriptor, error) {
	x := exchangeOf(ctx)
	a, err := s.resolve(ctx, tag)
	if err != nil {
		return v1.Descriptor{}, x.fail(err, errcode.ErrorCodeManifestUnknown)
	}
	x.manifest = a.manifest
	x.answer(a.status, a.keep)
	return v1.Descriptor{Digest: a.digest}, nil
}

// List returns up to limit tags after last, or all of them for a limit below
// 0; io.EOF comes with the last ones. The upstream's list is given as it is,
// in the upstream's order. While the upstream fails, the list is of those tags
// that are known here.
func (s tagService) List(ctx context.Context, limit int, last string) ([]string, error) {
	x := exchangeOf(ctx)
	known, err := s.store.Tags(s.name)
	if err != nil {
		return nil, x.fail(err, errcode.ErrorCodeNameUnknown)
	}
	if s.offline {
		if len(known) == 0 {
			return nil, x.fail(s.offlineError("repository "+s.remote, errcode.ErrorCodeNameUnknown), errcode.ErrorCodeNameUnknown)
		}
		x.answer(accesslog.Hit, noCache)
		return page(known, limit, last)
	}
	if len(known) > 0 && s.circuit.blocks(nil) {
		x.answer(accesslog.Stale, staleOnly)
		return page(known, limit, last)
	}
	tags, more, err := s.upstream.Tags(ctx, s.remote, limit, last)
	switch {
	case err == nil && more && len(tags) > 0:
		x.answer(accesslog.Passed, noCache)
		return tags, nil
	case err == nil:
		x.answer(accesslog.Passed, noCache)
		return tags, io.EOF
	case len(known) > 0 && upstream.KindOf(err) != upstream.NotFound:
		x.answer(accesslog.Stale, staleOnly)
		return page(known, limit, last)
	}
	return nil, x.fail(err, errcode.ErrorCodeNameUnknown)
}

// page cuts what was asked for out of a sorted list. io.EOF says that nothing
// follows; the app relies on it whenever the page is empty.
func page(sorted []string, limit int, last string) ([]string, error) {
	i, found := slices.BinarySearch(sorted, last)
	if found {
		i++
	}
	rest := sorted[i:]
	if limit < 0 || len(rest) <= limit {
		return rest, io.EOF
	}
	return rest[:limit], nil
}
