package pullthrough

import (
	"crypto"
	_ "crypto/sha256" // digests are verified with it
	_ "crypto/sha512" // digests are verified with it
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// kind is what a path is about.
type kind int

const (
	kindBase kind = iota
	kindCatalog
	kindManifest
	kindBlob
	kindTags
	kindReferrers
)

// request is a parsed path of the distribution API.
type request struct {
	kind kind
	// name is the repository, upstream included.
	name string
	// tag or digest is set for manifests, digest for blobs and referrers.
	tag    string
	digest digest.Digest
}

// parse reads a path. What distribution's app would answer with a redirect or
// a plain-text 404 is an error of the API here.
func parse(path string) (request, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || ok && rest == "":
		return request{kind: kindBase}, nil
	case !ok:
		return request{}, errcode.ErrorCodeNameUnknown.WithMessage("the API begins at /v2/")
	case rest == "_catalog":
		return request{kind: kindCatalog}, nil
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return request{kind: kindTags, name: name}, checkName(name)
	}
	rest, last := cutLast(rest)
	name, what := cutLast(rest)
	q := request{name: name}
	if err := checkName(name); err != nil {
		return q, err
	}
	var err error
	switch {
	case what == "manifests" && !strings.Contains(last, ":"):
		q.kind, q.tag = kindManifest, last
		if !images.IsTag(last) {
			err = errcode.ErrorCodeTagInvalid.WithMessage(quote(last) +
				" is not a tag: up to 128 letters, digits, _ . and -, not beginning with . or -")
		}
	case what == "manifests":
		q.kind = kindManifest
		q.digest, err = parseDigest(last)
	case what == "blobs":
		q.kind = kindBlob
		q.digest, err = parseDigest(last)
	case what == "referrers":
		q.kind = kindReferrers
		q.digest, err = parseDigest(last)
	case what == "uploads":
		err = errcode.ErrorCodeBlobUploadUnknown.WithMessage("the cache takes no uploads")
	default:
		err = errcode.ErrorCodeNameUnknown.WithMessage(
			"the path is none of the API: after the repository comes manifests, blobs, tags/list or referrers")
	}
	return q, err
}

// cutLast cuts at the last slash.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

func checkName(name string) error {
	if _, err := reference.WithName(name); err != nil {
		return errcode.ErrorCodeNameInvalid.WithMessage(quote(name) + " is not a repository name: " + err.Error())
	}
	return nil
}

// parseDigest takes the two algorithms that registries use. Others would be
// paths in the store that nothing else knows.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err == nil && (d.Algorithm() == digest.SHA256 || d.Algorithm() == digest.SHA512) {
		return d, nil
	}
	return "", errcode.ErrorCodeDigestInvalid.WithMessage(quote(s) + " is not a digest: sha256: and " +
		strconv.Itoa(2*crypto.SHA256.Size()) + " hex digits, or sha512: and " + strconv.Itoa(2*crypto.SHA512.Size()))
}

// quote shows what came in, but no more than helps.
func quote(s string) string {
	const enough = 160
	if len(s) > enough {
		s = s[:enough] + "..."
	}
	return strconv.Quote(s)
}
