package hosted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// putManifest holds off who would collect what the manifest needs from before
// it is looked for until it is needed by the manifest.
func (h *handler) putManifest(a *changed, q request) {
	if q.digest != "" && q.digest.Algorithm() != digest.Canonical {
		refuse(a, otherAlgorithm("manifests", q.digest)) // distribution would find it wrong
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(a, q.Body, images.MaxManifestSize))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			refuse(a, errcode.ErrorCodeSizeInvalid.WithMessage(images.ErrManifestTooLarge.Error()))
			return
		}
		refuse(a, errcode.ErrorCodeManifestInvalid.WithMessage("the manifest broke off"))
		return
	}
	doc, err := parseManifest(payload)
	if err != nil {
		refuse(a, errcode.ErrorCodeManifestInvalid.WithMessage("the manifest is invalid: "+err.Error()))
		return
	}
	if doc.Subject != nil {
		a.subject = doc.Subject.Digest
	}
	release, err := h.store.Changing(q.Context())
	if err != nil {
		h.fail(a, q, err)
		return
	}
	defer release()
	q.Body = io.NopCloser(bytes.NewReader(payload))
	h.registry.ServeHTTP(a, q.Request)
	if a.status == http.StatusCreated {
		h.referrers.add(q.repository, a.subject, digest.FromBytes(payload))
		h.pledges.Lock()
		defer h.pledges.Unlock()
		h.store.Redeem(q.repository, doc.Needs())
	}
}

// parseManifest refuses, too, what distribution would not take for the client's
// mistake but for a failure of its own.
func parseManifest(payload []byte) (images.ManifestDoc, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return images.ManifestDoc{}, errors.New("it is not a JSON object")
	}
	doc, err := images.ParseManifest(payload)
	if err != nil {
		return doc, err
	}
	for _, desc := range doc.Descriptors() {
		if err := desc.Digest.Validate(); err != nil {
			return doc, fmt.Errorf("it names the digest %q: %w", desc.Digest, err)
		}
	}
	return doc, nil
}
