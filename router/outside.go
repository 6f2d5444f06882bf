package router

import (
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"

	"registrycache/config"
	"registrycache/logger/accesslog"
	"registrycache/router/address"
	"registrycache/router/statuspage"
)

const greeting = `This is registry-cache, a pull-through cache for container registries.

Pull through it by putting its address before the image's name:

    podman pull <this address>/quay.io/podman/hello:latest

A browser is shown the state of the cache here; /status.json has it for programs.
`

// outside answers what is no path of the registry API. The greeting says
// nothing that this program's documents don't, and needs no login.
func (h *handler) outside(a *answer, r *http.Request, record *accesslog.Record) {
	if record.Path == statuspage.Path {
		a.Header().Set("Vary", "Accept")
	}
	switch {
	case record.Path == statuspage.Path && !statuspage.Wanted(r):
		writeText(a, http.StatusOK, greeting)
	case statuspage.Serves(record.Path):
		h.statusPage(a, r, record)
	default:
		writeText(a, http.StatusNotFound, "not found; the registry API is at /v2/\n")
	}
}

// statusPage answers with the state of the cache those who may list its images.
func (h *handler) statusPage(a *answer, r *http.Request, record *accesslog.Record) {
	all := access(http.MethodGet, address.Target{Kind: address.Catalog})
	for {
		st := h.state.Load()
		user, err := st.gate.admit(r, all)
		switch {
		case err == nil:
			record.User = user
			h.page.ServeHTTP(a, r)
			return
		case !errors.Is(err, errGateClosed):
			h.refusePage(a, r, st, err)
			return
		}
	}
}

// What those read who look at the page without access.
const (
	needsPassword = "The state of the cache is shown to its users only: load this page again and give a user name and password.\n"
	needsToken    = "This cache asks its clients for tokens, which browsers don't have.\n" +
		"The state is also printed by `registry-cache status`, and is at /status on METRICS_ADDR.\n"
)

func (h *handler) refusePage(a *answer, r *http.Request, st *state, err error) {
	challenge, ok := errors.AsType[auth.Challenge](err)
	if !ok {
		h.fail(a, r, errcode.ErrorCodeUnknown.WithMessage(authFailed), err)
		return
	}
	challenge.SetHeaders(credentialOnly(r), a)
	words := needsPassword
	if st.settings.Auth.Type == config.AuthToken {
		words = needsToken
	}
	writeText(a, http.StatusUnauthorized, words)
}

func writeText(a *answer, status int, text string) {
	a.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeBody(a, status, []byte(text))
}
