package router

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/rs/zerolog"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/router/address"
	"registrycache/router/pulls"
	"registrycache/router/statuspage"
)

// handler answers every request.
type handler struct {
	tune    tuning
	state   atomic.Pointer[state]
	store   *images.Store
	records *accesslog.Writer // nil when it can't be opened
	metrics *metrics
	hits    *hits
	pulls   *pulls.Log
	page    *statuspage.Page
	log     zerolog.Logger
	// warnings is log for what clients can cause, limited in rate.
	warnings zerolog.Logger
}

// Every answer says so, as clients look for it to recognise a registry.
const (
	apiVersionHeader = "Docker-Distribution-Api-Version"
	apiVersion       = "registry/2.0"
)

// statusClientLeft is recorded where a client did not wait for an answer, as
// nginx does; nobody is sent it.
const statusClientLeft = 499

// ServeHTTP sees to what all answers have in common. However a request ends,
// it is recorded.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, method: r.Method, batch: batchOf(r.Context())}
	record := accesslog.Record{
		Time: time.Now().UTC(), RemoteAddr: r.RemoteAddr, Method: r.Method,
		Path: r.URL.EscapedPath(), UserAgent: r.UserAgent(),
	}
	a.Header().Set(apiVersionHeader, apiVersion)
	setCacheStatus(a, accesslog.Local)
	defer func() {
		cause := recover()
		if cause != nil {
			cause = h.salvage(a, cause)
		}
		h.record(a, &record)
		h.pulls.End(a.pull, &record, pulls.Answer{Contents: a.contents, Cut: a.cut || cause != nil})
		if cause != nil {
			panic(cause)
		}
	}()
	h.serve(a, r, &record)
}

// salvage answers a request that failed on a bug, if it still can. It returns
// what to go on panicking with, if anything.
func (h *handler) salvage(a *answer, cause any) any {
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return cause
	}
	h.log.Error().Any("panic", cause).Bytes("stack", debug.Stack()).Msg("a request failed on a bug; please report it")
	if a.status != 0 {
		return http.ErrAbortHandler
	}
	setCacheStatus(a, accesslog.Failed)
	writeError(a, errcode.ErrorCodeUnknown.WithMessage("the cache failed on a bug; its log has more"))
	return nil
}

// record notes how a request ended.
func (h *handler) record(a *answer, record *accesslog.Record) {
	record.Status, record.Bytes = a.status, a.sent
	if record.Status == 0 {
		record.Status = statusClientLeft
	}
	record.Cache = accesslog.ParseHeader(a.Header().Get(accesslog.HeaderName))
	h.finish(record)
}

// finish completes a record that has all but its duration.
func (h *handler) finish(record *accesslog.Record) {
	record.Duration = time.Since(record.Time).Seconds()
	h.metrics.count(record)
	if h.records != nil {
		h.records.Log(*record)
	}
}

// describe notes what was asked for.
func describe(record *accesslog.Record, target address.Target) {
	record.Kind = string(target.Kind)
	record.Upstream, record.Repository = target.Route.Path, target.Repository
	record.Reference, record.Digest = target.Reference, target.Digest.String()
}

func setCacheStatus(a *answer, s accesslog.CacheStatus) {
	a.Header().Set(accesslog.HeaderName, s.Header())
}

func (h *handler) serve(a *answer, r *http.Request, record *accesslog.Record) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.change(a, r, record)
		return
	case r.ContentLength != 0:
		refuse(a, r, errcode.ErrorCodeSizeInvalid.WithMessage("a "+r.Method+" request takes no body"))
		return
	case !address.InAPI(record.Path):
		h.outside(a, r, record)
		return
	}
	ignoreRange(r)

	st, target, parseErr, err := h.admit(r, record)
	if err != nil {
		h.refuseAccess(a, r, err)
		return
	}
	if parseErr != nil {
		coded, _ := errors.AsType[errcode.Error](parseErr)
		writeError(a, coded)
		return
	}
	describe(record, target)
	a.pull = h.pulls.Begin(record)
	switch target.Kind {
	case address.Ping:
		writeJSON(a, http.StatusOK, struct{}{})
	case address.Catalog:
		h.catalog(a, r, target)
	default:
		h.pull(a, r, target, st.upstreams[target.Route.Path])
		if d := a.Header().Get(digestHeader); d != "" {
			record.Digest = d
		}
	}
}

// pull answers for one upstream.
func (h *handler) pull(a *answer, r *http.Request, target address.Target, u *upstream) {
	switch {
	case target.Route.Hosted:
		h.forward(a, r, target, u) // it may be another in the next moment
	case target.Kind == address.Manifests, target.Kind == address.Referrers:
		h.small(a, r, target, u)
	case target.Kind == address.Blobs:
		h.blob(a, r, target, u)
	default:
		// Lists of tags may be long and are never fresh.
		h.forward(a, r, target, u)
	}
}

// admit parses the request and lets the gate decide about it. The client
// learns what is wrong with the address only after it was admitted, since that
// tells which upstreams there are.
func (h *handler) admit(r *http.Request, record *accesslog.Record) (st *state, target address.Target, parseErr, err error) {
	for {
		st = h.state.Load()
		target, parseErr = st.table.Parse(record.Path, r.URL.RawQuery)
		record.User, err = st.gate.admit(r, access(r.Method, target))
		if !errors.Is(err, errGateClosed) {
			return st, target, parseErr, err
		}
	}
}

// authFailed is for clients of whom it could not be found out who they are.
const authFailed = "client authentication failed on an error of the cache; its log has more"

func (h *handler) refuseAccess(a *answer, r *http.Request, err error) {
	if challenge, ok := errors.AsType[auth.Challenge](err); ok {
		writeChallenge(a, r, challenge)
		return
	}
	h.fail(a, r, errcode.ErrorCodeUnknown.WithMessage(authFailed), err)
}

// fail answers with an error that is the cache's own, and reports its cause.
func (h *handler) fail(a *answer, r *http.Request, answered errcode.Error, cause error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		panic(http.ErrAbortHandler) // the client left, and with it the reason to answer
	}
	h.warnings.Warn().Err(cause).Str("path", r.URL.EscapedPath()).Msg(answered.Message)
	setCacheStatus(a, accesslog.Failed)
	writeError(a, answered)
}
