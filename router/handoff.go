package router

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
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

// handOff answers with the blob that the worker names. An error means that
// nothing was answered yet.
func (h *handler) handOff(a *answer, r *http.Request, response *http.Response) error {
	defer func() { _ = response.Body.Close() }()
	d, err := digest.Parse(response.Header.Get(handoffHeader))
	if err != nil {
		return fmt.Errorf("the worker's %s: %w", handoffHeader, err)
	}
	file, _, err := h.store.OpenBlob(d)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()

	copyHeader(a, response)
	header := a.Header()
	// The worker's answer had no body, so these say nothing about the blob's.
	header.Del("Content-Length")
	header.Del("Content-Range")
	if header.Get("Etag") == "" {
		header.Set("Etag", strconv.Quote(d.String()))
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(a, r, "", time.Time{}, file)
	// ServeContent tells nobody when it got stuck midway.
	if length := header.Get("Content-Length"); length != "" && r.Method != http.MethodHead && length != strconv.FormatInt(a.sent, 10) {
		panic(http.ErrAbortHandler)
	}
	return nil
}
