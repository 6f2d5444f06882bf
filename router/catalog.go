package router

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/images"
	"registrycache/router/address"
)

// Sizes of a catalog page, as in distribution.
const (
	catalogPage    = 100
	maxCatalogPage = 1000
)

// catalog lists the repositories that the store has something of.
func (h *handler) catalog(a *answer, r *http.Request, target address.Target) {
	query, err := url.ParseQuery(target.Query)
	if err != nil {
		panic(err) // it was encoded by the parser
	}
	n := catalogPage
	if asked := query.Get("n"); asked != "" {
		if n, err = strconv.Atoi(asked); err != nil || n < 0 {
			writeError(a, errcode.ErrorCodePaginationNumberInvalid.WithMessage("n must be a number of 0 or more"))
			return
		}
		n = min(n, maxCatalogPage)
	}
	names, more, err := h.repositories(r.Context(), query.Get("last"), n)
	if err != nil {
		h.fail(a, r, errcode.ErrorCodeUnknown.WithMessage("the store can't be read; the cache's log has more"), err)
		return
	}
	if more {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {names[len(names)-1]}}
		a.Header().Set("Link", "<"+target.Path()+"?"+next.Encode()+`>; rel="next"`)
	}
	if names == nil {
		names = []string{}
	}
	writeJSON(a, http.StatusOK, struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// repositories are those of the store and of what was pushed, as one list.
func (h *handler) repositories(ctx context.Context, last string, n int) (names []string, more bool, err error) {
	stores := []*images.Store{h.store}
	if st := h.state.Load(); st.hosted != "" {
		stores = append(stores, st.upstreams[st.hosted].store)
	}
	for _, s := range stores {
		some, further, err := s.Repositories(ctx, last, n)
		if err != nil {
			return nil, false, err
		}
		names, more = append(names, some...), more || further
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > n {
		names, more = names[:n], true
	}
	return names, more, nil
}
