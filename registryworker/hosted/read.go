package hosted

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// After nginx's X-Accel-Redirect: fields between the router and this process.
const (
	// handoffHeader of an answer is the digest of the blob that the router is
	// to send.
	handoffHeader = "X-Accel-Redirect"
	// refusedHeader of a request asks for the blob itself.
	refusedHeader = "X-Accel-Refused"
)

const digestHeader = "Docker-Content-Digest"

// readManifest answers with a manifest as it was pushed.
func (h *handler) readManifest(w http.ResponseWriter, q request) {
	d, err := q.digest, error(nil)
	if q.tag != "" {
		d, _, err = h.store.Tag(q.repository, q.tag)
	}
	var payload []byte
	mediaType := ""
	if err == nil {
		payload, mediaType, err = h.store.Manifest(q.repository, d)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, unknownManifest(q))
		return
	case err != nil:
		h.fail(w, q, err)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	describe(w, d)
	http.ServeContent(w, q.Request, "", time.Time{}, bytes.NewReader(payload))
}

func unknownManifest(q request) error {
	return errcode.ErrorCodeManifestUnknown.WithMessage(q.repository + " has no manifest " + q.tag + q.digest.String())
}

func describe(w http.ResponseWriter, d digest.Digest) {
	w.Header().Set(digestHeader, d.String())
	w.Header().Set("Etag", strconv.Quote(d.String()))
}

// readBlob names the blob for the router to send. A push that is told that the
// blob is here will not upload it.
func (h *handler) readBlob(w http.ResponseWriter, q request) {
	if q.Method == http.MethodHead {
		defer h.promise(q)()
	}
	_, err := h.store.StatBlob(q.digest)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !h.store.HasLink(q.repository, images.Layer, q.digest):
		refuse(w, errcode.ErrorCodeBlobUnknown.WithMessage(q.repository+" has no blob "+q.digest.String()))
		return
	case err != nil:
		h.fail(w, q, err)
		return
	}
	if q.Header.Get(refusedHeader) != "" {
		h.registry.ServeHTTP(w, q.Request)
		return
	}
	describe(w, q.digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set(handoffHeader, q.digest.String())
}

// promise keeps the blob for the push that asks for it, if it is here, and holds
// off who would remove it until release is called. A store that can't be written
// can't take the push either, but it can be read.
func (h *handler) promise(q request) (release func()) {
	release, err := h.store.Changing(q.Context())
	if err == nil && h.store.HasLink(q.repository, images.Layer, q.digest) {
		err = h.keep(q, q.digest)
	}
	if err != nil {
		h.log.Debug().Err(err).Str("repository", q.repository).Msg("a push may have to begin anew if images are removed meanwhile")
	}
	if release == nil {
		return func() {}
	}
	return release
}
