package router

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/distribution/distribution/v3/registry/api/errcode"

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
	names, more, err := h.store.Repositories(r.Context(), query.Get("last"), n)
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
