package pullthrough

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

const (
	// maxTagPage is how many tags one request to the upstream asks for.
	maxTagPage = 1000
	// maxTagPages bounds a list that does not end.
	maxTagPages = 1000
	// tagListPatience is how long the upstream may take for a page of tags
	// when some are known here.
	tagListPatience = 10 * time.Second
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
	if len(known) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, tagListPatience)
		defer cancel()
	}
	tags, err := s.listUpstream(ctx, limit, last)
	switch {
	case err == nil || err == io.EOF:
		x.answer(accesslog.Passed, noCache)
		return tags, err
	case len(known) > 0 && upstream.KindOf(err) != upstream.NotFound:
		x.answer(accesslog.Stale, staleOnly)
		return page(known, limit, last)
	}
	return nil, x.fail(err, errcode.ErrorCodeNameUnknown)
}

// listUpstream follows the upstream's pages until there are enough tags. An
// upstream that sends all at once, more than it was asked for, knows no pages,
// and some of those know no order either: both are made here.
func (s tagService) listUpstream(ctx context.Context, limit int, last string) ([]string, error) {
	var tags []string
	for range maxTagPages {
		n := maxTagPage
		if limit >= 0 {
			n = min(n, limit-len(tags))
		}
		got, more, err := s.upstream.Tags(ctx, s.remote, n, last)
		if err != nil {
			return nil, err
		}
		if len(got) > n && !more {
			slices.Sort(got)
			rest, err := page(got, limit-len(tags), last)
			return append(tags, rest...), err
		}
		// Some registries ignore last and begin anew.
		got = after(got, last)
		tags = append(tags, got...)
		switch {
		case limit >= 0 && len(tags) > limit:
			return tags[:limit], nil
		case !more || len(got) == 0:
			return tags, io.EOF
		case len(tags) == limit:
			return tags, nil
		}
		last = got[len(got)-1]
	}
	return tags, io.EOF
}

// after drops the tags up to last, if it is among them.
func after(tags []string, last string) []string {
	if i := slices.Index(tags, last); i >= 0 {
		return tags[i+1:]
	}
	return tags
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
