package hosted

import (
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// subjectHeader of an answer says that the subject of a manifest was taken note
// of (OCI distribution spec 1.1, "Pushing Manifests with Subject").
const subjectHeader = "OCI-Subject"

// change lets distribution change the repository.
func (h *handler) change(w http.ResponseWriter, q request) {
	a := &changed{ResponseWriter: w}
	h.garbage.due.Store(true)
	switch {
	case q.route == v2.RouteNameManifest && q.Method == http.MethodPut:
		h.putManifest(a, q)
	case q.route == v2.RouteNameManifest && q.Method == http.MethodDelete:
		h.unlink(a, q, images.Manifest)
	case q.route == v2.RouteNameBlob && q.Method == http.MethodDelete:
		h.unlink(a, q, images.Layer)
	default:
		err := checkChunk(q)
		if err == nil {
			err = h.pledge(q)
		}
		if _, refused := errors.AsType[errcode.Error](err); refused {
			refuse(w, err)
			return
		}
		if err != nil {
			h.fail(w, q, err)
			return
		}
		h.registry.ServeHTTP(a, q.Request)
	}
	h.conceal(w, q, a)
}

// conceal answers in the place of distribution where that failed: its error is
// in the log, and would show clients paths.
func (h *handler) conceal(w http.ResponseWriter, q request, a *changed) {
	if a.failed {
		h.fail(w, q, errors.New("distribution answered "+strconv.Itoa(a.status)))
	}
}

// changed passes on an answer of distribution's, except for failures.
type changed struct {
	http.ResponseWriter
	// subject is for the answer to a manifest that was taken.
	subject digest.Digest
	status  int
	failed  bool
}

// Unwrap lets http.ResponseController reach the connection.
func (a *changed) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *changed) WriteHeader(status int) {
	a.status = status
	if a.failed = status >= http.StatusInternalServerError; a.failed {
		return
	}
	if a.subject != "" && status == http.StatusCreated {
		a.Header().Set(subjectHeader, a.subject.String())
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *changed) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// chunkRange is the Content-Range of a chunk (OCI distribution spec 1.1, "Pushing
// a blob in chunks"), which differs from that of HTTP.
var chunkRange = regexp.MustCompile(`^[0-9]{1,18}-[0-9]{1,18}$`)

// checkChunk refuses a Content-Range that is none. Distribution would call that
// a failure of its own.
func checkChunk(q request) error {
	text := q.Header.Get("Content-Range")
	if text == "" || chunkRange.MatchString(text) {
		return nil
	}
	return errcode.ErrorCodeRangeInvalid.WithMessage("the Content-Range " + strconv.Quote(text) +
		" is invalid: that of a chunk has its first and its last byte, such as 0-1023")
}

// pledge keeps the blob that an upload will be, or that is to be mounted, for
// the manifest that is still to come. Uploads take as long as they take: that
// the blob is pledged before it has its name is enough.
func (h *handler) pledge(q request) error {
	query := q.URL.Query()
	d := digest.Digest(query.Get("digest"))
	if q.Method == http.MethodPost {
		d = digest.Digest(query.Get("mount"))
	}
	if d.Validate() != nil {
		return nil // none, or none that distribution would take
	}
	if d.Algorithm() != digest.Canonical {
		// Distribution would keep it under its sha256 digest, where nobody would
		// look who asks what a manifest needs.
		return otherAlgorithm("blobs", d)
	}
	release, err := h.store.Changing(q.Context())
	if err != nil {
		return err
	}
	defer release()
	return h.keep(q, d)
}

// otherAlgorithm refuses a push by a digest that nothing here goes by. The
// distribution spec wants no other than sha256.
func otherAlgorithm(what string, d digest.Digest) error {
	return errcode.ErrorCodeDigestInvalid.WithMessage(what + " are pushed by their sha256 digest here, not by " + d.Algorithm().String())
}

func (h *handler) keep(q request, d digest.Digest) error {
	h.pledges.Lock()
	defer h.pledges.Unlock()
	return h.store.Pledge(q.repository, d)
}

// unlink deletes a tag, manifest or blob from the repository. Distribution
// leaves the directory of the link behind, which `images` would go by. The blob
// itself may be needed elsewhere; the collector will know.
func (h *handler) unlink(a *changed, q request, k images.Kind) {
	release, err := h.store.Changing(q.Context())
	if err != nil {
		h.fail(a, q, err)
		return
	}
	defer release()
	if q.tag != "" {
		if _, _, err := h.store.Tag(q.repository, q.tag); errors.Is(err, fs.ErrNotExist) {
			refuse(a, unknownManifest(q)) // distribution would show its path
			return
		}
	}
	h.registry.ServeHTTP(a, q.Request)
	if a.status != http.StatusAccepted || q.digest == "" {
		return
	}
	if err := h.store.RemoveLink(q.repository, k, q.digest); err != nil {
		h.log.Warn().Err(err).Msg("a part of what was deleted is left")
	}
}
