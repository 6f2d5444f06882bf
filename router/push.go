package router

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/logger/accesslog"
	"registrycache/router/address"
)

// pushed are the fields of a push that its worker gets besides those asked for
// a pull; what frames the body is net/http's.
var pushed = []string{"Content-Range", "Content-Type", "Expect"}

// received are the fields of a worker's answer about a push, besides those of
// an answer to a pull.
var received = []string{"Docker-Upload-Uuid", "Location", "Range"}

// pushMethods are those by which clients push and delete.
var pushMethods = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// change answers a request that wants to change something. Only what is pushed
// here can be.
func (h *handler) change(a *answer, r *http.Request, record *accesslog.Record) {
	prefix := h.state.Load().hosted
	if prefix == "" || !address.InAPI(record.Path) || !slices.Contains(pushMethods, r.Method) {
		refuseChange(a, r, "")
		return
	}
	st, target, parseErr, err := h.admit(r, record)
	if err != nil {
		dropBody(a, r)
		h.refuseAccess(a, r, err)
		return
	}
	if parseErr != nil {
		coded, _ := errors.AsType[errcode.Error](parseErr)
		refuse(a, r, coded)
		return
	}
	describe(record, target)
	if !target.Route.Hosted {
		refuseChange(a, r, prefix)
		return
	}
	if may := target.Route.Push; len(may) > 0 && !slices.Contains(may, record.User) {
		refuse(a, r, errcode.ErrorCodeDenied.WithMessage(
			strconv.Quote(record.User)+" may pull from "+prefix+"/ but not push to it: hosted.push in the cache's CONFIG_FILE lists who may"))
		return
	}
	h.push(a, r, target, st.upstreams[target.Route.Path])
	if d := a.Header().Get(digestHeader); d != "" {
		record.Digest = d
	}
	h.tell(a, record)
}

// tell writes a line when an image is pushed, which ends with its manifest, or
// deleted.
func (h *handler) tell(a *answer, record *accesslog.Record) {
	what := ""
	switch {
	case record.Kind != string(address.Manifests):
	case record.Method == http.MethodPut && a.status == http.StatusCreated:
		what = "pushed"
	case record.Method == http.MethodDelete && a.status == http.StatusAccepted:
		what = "deleted"
	}
	if what == "" {
		return
	}
	image := record.Repository + ":" + record.Reference
	if record.Reference == record.Digest {
		image = record.Repository + "@" + record.Digest
	}
	line := h.log.Info().Str("image", image)
	if record.Digest != "" {
		line.Str("digest", record.Digest)
	}
	if record.User != "" {
		line.Str("user", record.User)
	}
	line.Str("client", clientOf(record.RemoteAddr)).Msg(what)
}

// clientOf is a client's address without its port.
func clientOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// refuseChange answers where there is nothing to push to. Prefix is that of the
// names where there is, or empty.
func refuseChange(a *answer, r *http.Request, prefix string) {
	a.Header().Set("Allow", "GET, HEAD")
	instead := ""
	if prefix != "" {
		instead = ", or to names below " + prefix + "/ here"
	}
	refuse(a, r, errcode.ErrorCodeUnsupported.WithMessage(
		r.Method+" is not supported: this is a pull-through cache; push to the upstream registry itself"+instead))
}

// push lets a worker answer a push. The body goes to it as it comes, of any size
// and in any time.
func (h *handler) push(a *answer, r *http.Request, target address.Target, u *upstream) {
	header := askedFields(r)
	copyFields(header, r.Header, pushed)
	body := &pushBody{r: r.Body}
	response, err := u.send(r, target, header, body)
	if err != nil {
		if r.Context().Err() == nil {
			dropBody(a, r)
		}
		h.failUpstream(a, r, u, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	copyHeader(a.Header(), response)
	copyFields(a.Header(), response.Header, received)
	if !body.ended.Load() && r.ContentLength != 0 {
		dropBody(a, r) // the worker did not want all of it
	}
	a.WriteHeader(response.StatusCode)
	h.relay(a, r, response.Body, u)
}

// pushBody is the body of a push. The transport must not close it, since it may
// yet be sent to another process.
type pushBody struct {
	r io.Reader
	// It may still be read when the worker has answered.
	begun, ended atomic.Bool
}

func (b *pushBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.r.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

func (*pushBody) Close() error { return nil }

// send sends a push to the worker. It may change something, so it is only sent
// again where no worker took it.
func (u *upstream) send(r *http.Request, target address.Target, header http.Header, body *pushBody) (*http.Response, error) {
	request := (&http.Request{
		Method: r.Method,
		URL:    &url.URL{Scheme: "http", Host: "worker", Path: target.Path(), RawQuery: target.Query},
		Header: header, ContentLength: r.ContentLength, Body: body,
		ProtoMajor: 1, ProtoMinor: 1, // else Expect has no effect
	}).WithContext(r.Context())
	if r.ContentLength == 0 {
		request.Body = http.NoBody
	}
	for try := 0; ; try++ {
		response, err := u.transport.RoundTrip(request)
		if err == nil || try == len(u.waits) || body.begun.Load() || !refusedConnection(err) {
			return response, err
		}
		if err := wait(r.Context(), u.waits[try]); err != nil {
			return nil, err
		}
	}
}

func refusedConnection(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
