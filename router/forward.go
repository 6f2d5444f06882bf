package router

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/logger/accesslog"
	"registrycache/router/address"
)

const digestHeader = "Docker-Content-Digest"

// asked are the fields of a client's header that a worker gets; the rest is
// between the client and the router, Authorization above all. Accept-Encoding
// stays out since a digest is over the bytes as they are.
var asked = []string{"Accept", "If-None-Match", "If-Range", "Range", "User-Agent"}

// answered are the fields of a worker's header that a client gets, besides
// those that start with "Oci-".
var answered = []string{
	"Accept-Ranges", "Age", "Allow", "Cache-Control", accesslog.HeaderName, "Content-Length", "Content-Range",
	"Content-Type", digestHeader, "Etag", "Link", "Retry-After", "Vary", "Warning",
}

// forward lets a worker answer.
func (h *handler) forward(a *answer, r *http.Request, target address.Target, u *upstream) {
	header := askedFields(r)
	if target.Kind == address.Blobs && r.Method == http.MethodGet {
		header[growingHeader] = []string{"1"}
	}
	term := u.term.Load()
	response, err := u.ask(r.Context(), r.Method, target, header)
	if err == nil && namesFile(response) {
		if isGrowing(response) {
			err = h.followFile(a, r, response, u)
		} else {
			err = h.handOff(a, r, target, response, u, term)
		}
		if err == nil {
			return
		}
		// Evicted since the worker looked: let it fetch and send the blob itself.
		delete(header, growingHeader)
		header[refusedHeader] = []string{"1"}
		if response, err = u.ask(r.Context(), r.Method, target, header); err == nil && namesFile(response) {
			_ = response.Body.Close()
			err = errHandoffAgain
		}
	}
	if err != nil {
		h.failUpstream(a, r, u, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	copyHeader(a.Header(), response)
	if target.Kind == address.Uploads {
		copyFields(a.Header(), response.Header, received)
	}
	a.WriteHeader(response.StatusCode)
	if r.Method == http.MethodHead {
		return
	}
	h.relay(a, r, response.Body, u)
}

// askedFields are what a worker gets of a client's header.
func askedFields(r *http.Request) http.Header {
	header := make(http.Header, len(asked))
	copyFields(header, r.Header, asked)
	if header["User-Agent"] == nil {
		header["User-Agent"] = []string{""} // else net/http puts its own
	}
	return header
}

func copyFields(to, from http.Header, names []string) {
	for _, name := range names {
		if values := from[name]; len(values) > 0 {
			to[name] = values
		}
	}
}

// failUpstream answers when there is no answer of the worker.
func (h *handler) failUpstream(a *answer, r *http.Request, u *upstream, cause error) {
	h.fail(a, r, errcode.ErrorCodeUnavailable.WithMessage(
		"the cache's worker for "+u.name+" does not answer; it is restarted by itself, try again in a moment"), cause)
}

// copyHeader passes on what is for the client.
func copyHeader(to http.Header, response *http.Response) {
	if response.StatusCode >= http.StatusInternalServerError {
		to.Set(accesslog.HeaderName, accesslog.Failed.Header()) // unless the worker says otherwise
	}
	copyFields(to, response.Header, answered)
	for name, values := range response.Header {
		if strings.HasPrefix(name, "Oci-") {
			to[name] = values
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// relay sends a body as its bytes arrive. One that breaks off takes the
// client's connection with it: after a clean end a client would keep what it
// has for the whole.
func (h *handler) relay(a *answer, r *http.Request, body io.Reader, u *upstream) {
	buffer := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	connection := http.NewResponseController(a)
	for {
		n, readErr := body.Read(buffer[:])
		if n > 0 {
			_, err := a.Write(buffer[:n])
			if err == nil {
				err = connection.Flush()
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		if readErr == io.EOF {
			return
		}
		if readErr != nil {
			h.brokeOff(r, u, readErr)
		}
	}
}

// brokeOff cuts off the client of an answer that broke off.
func (h *handler) brokeOff(r *http.Request, u *upstream, cause error) {
	if r.Context().Err() == nil {
		h.warnings.Warn().Err(cause).Str("upstream", u.name).Str("path", r.URL.EscapedPath()).
			Msg("the worker's answer broke off; the client was cut off, too")
	}
	panic(http.ErrAbortHandler)
}
