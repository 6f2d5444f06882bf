package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/router/address"
	"registrycache/router/pulls"
)

// shared is an answer that is small enough to be read whole before it is given
// to all who wait for it.
type shared struct {
	status int
	header http.Header
	cache  accesslog.CacheStatus
	body   []byte
	// contents are those of the manifest that the body is, if they are known.
	contents *pulls.Contents
	// alone says that only the one who asked first may have it.
	alone bool
}

// errAskAlone means that an answer can't be shared: each has to ask.
var errAskAlone = errors.New("the answer is for one client alone")

// maxShared is the largest body that is read whole: a manifest, or a list of
// referrers, that a worker takes.
const maxShared = images.MaxManifestSize

// small answers a request for a manifest or a list of referrers, from memory if
// it may. Those who ask for the same at the same time are one request to the
// worker. What of a client's header the worker would look at is left out: the
// whole answer is here, and ranges and conditions are met here.
func (h *handler) small(a *answer, r *http.Request, target address.Target, u *upstream) {
	key := target.String()
	now := time.Now()
	if e := h.hits.get(key, u, now); e != nil {
		e.setHeader(a.Header(), now)
		a.contents = e.contents
		writeWhole(a, r, http.StatusOK, e.body)
		return
	}
	got, joined, err := u.flights.wait(r.Context(), key, func(ctx context.Context) (*shared, error) {
		return h.fetchSmall(ctx, key, target, u)
	})
	switch {
	case errors.Is(err, errAskAlone), err == nil && joined && got.alone:
		h.forward(a, r, target, u)
		return
	case err != nil:
		h.failUpstream(a, r, u, err)
		return
	}
	for name, values := range got.header {
		a.Header()[name] = values
	}
	if joined && got.cache == accesslog.Miss {
		setCacheStatus(a, accesslog.Collapsed)
	}
	a.contents = got.contents
	writeWhole(a, r, got.status, got.body)
}

// fetchSmall asks the worker for the whole of a small answer and remembers it
// if it may.
func (h *handler) fetchSmall(ctx context.Context, key string, target address.Target, u *upstream) (*shared, error) {
	term := u.term.Load()
	response, err := u.ask(ctx, http.MethodGet, target, http.Header{"User-Agent": {""}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if isHandoff(response) {
		return nil, errAskAlone
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxShared+1))
	if err != nil {
		return nil, fmt.Errorf("the worker's answer broke off: %w", err)
	}
	if len(body) > maxShared {
		return nil, errAskAlone
	}
	var contents *pulls.Contents
	if target.Kind == address.Manifests && response.StatusCode == http.StatusOK {
		contents = pulls.ContentsOf(response.Header.Get(digestHeader), body)
	}
	if e := newHit(u, term, response); e != nil {
		e.setBody(body)
		e.contents = contents
		if target.Kind == address.Manifests {
			e.stored = h.stored(response.Header.Get(digestHeader))
		}
		h.hits.keep(key, e)
	}
	got := &shared{
		status: response.StatusCode, header: make(http.Header), body: body, contents: contents,
		alone: !shareable(response.Header),
	}
	copyHeader(got.header, response)
	got.header.Set("Content-Length", strconv.Itoa(len(body)))
	got.cache = accesslog.ParseHeader(got.header.Get(accesslog.HeaderName))
	return got, nil
}

// stored returns what says whether a manifest is in the store. It returns nil
// for one that is not even now, as it could not be written.
func (h *handler) stored(text string) func() bool {
	d := digest.Digest(text)
	if d.Validate() != nil {
		return nil
	}
	here := func() bool {
		_, err := h.store.StatBlob(d)
		return err == nil
	}
	if !here() {
		return nil
	}
	return here
}

// writeWhole sends an answer whose header is set and whose body is here.
func writeWhole(a *answer, r *http.Request, status int, body []byte) {
	if status == http.StatusOK && isConditional(r.Header) {
		a.Header().Del("Content-Length")
		http.ServeContent(a, r, "", time.Time{}, bytes.NewReader(body))
		return
	}
	a.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = a.Write(body) // the client may be gone
	}
}

// isConditional says whether a request may want something else than the whole.
func isConditional(header http.Header) bool {
	for _, name := range [...]string{"Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if len(header[name]) > 0 {
			return true
		}
	}
	return false
}
