package router

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"registrycache/router/address"
)

// A worker that has a whole blob does not send it but says which it is, after
// nginx's X-Accel-Redirect, and the router sends the file. These fields pass
// between worker and router only.
const (
	// handoffHeader of an answer holds the digest of the blob to be sent.
	handoffHeader = "X-Accel-Redirect"
	// refusedHeader of a request asks the worker to send the blob itself.
	refusedHeader = "X-Accel-Refused"
)

var errHandoffAgain = errors.New("the worker names a blob that can't be opened, and does not send it itself")

func isHandoff(response *http.Response) bool {
	return response.StatusCode == http.StatusOK && response.Header.Get(handoffHeader) != ""
}

// blob answers a request for a layer or a config, without the worker if it said
// lately where that is.
func (h *handler) blob(a *answer, r *http.Request, target address.Target, u *upstream) {
	key := target.String()
	now := time.Now()
	if e := h.hits.get(key, u, now); e != nil {
		file, _, err := u.store.OpenBlob(e.blob)
		if err == nil {
			defer func() { _ = file.Close() }()
			e.setHeader(a.Header(), now)
			sendFile(a, r, file)
			return
		}
		h.hits.drop(key) // evicted
	}
	h.forward(a, r, target, u)
}

// handOff answers with the blob that the worker names, and remembers its place
// if it may. An error means that nothing was answered yet.
func (h *handler) handOff(a *answer, r *http.Request, target address.Target, response *http.Response, u *upstream, term uint64) error {
	defer func() { _ = response.Body.Close() }()
	d, err := digest.Parse(response.Header.Get(handoffHeader))
	if err != nil {
		return fmt.Errorf("the worker's %s: %w", handoffHeader, err)
	}
	file, _, err := u.store.OpenBlob(d)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()

	describeBlob(response.Header, d)
	copyHeader(a.Header(), response)
	if target.Kind == address.Blobs {
		if e := newHit(u, term, response); e != nil {
			e.blob = d
			h.hits.keep(target.String(), e)
		}
	}
	sendFile(a, r, file)
	return nil
}

// describeBlob makes the header of a worker's answer that of the blob it names.
func describeBlob(header http.Header, d digest.Digest) {
	// The worker's answer had no body, so these say nothing about the blob's.
	header.Del("Content-Length")
	header.Del("Content-Range")
	if header.Get("Etag") == "" {
		header.Set("Etag", strconv.Quote(d.String()))
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/octet-stream")
	}
}

// sendFile answers with a file, or the ranges of it that were asked for.
func sendFile(a *answer, r *http.Request, file *os.File) {
	http.ServeContent(a, r, "", time.Time{}, file)
	// ServeContent tells nobody when it got stuck midway.
	length := a.Header().Get("Content-Length")
	if length != "" && r.Method != http.MethodHead && length != strconv.FormatInt(a.sent, 10) {
		panic(http.ErrAbortHandler)
	}
}
