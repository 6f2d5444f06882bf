package address

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
)

// InAPI says whether a path belongs to the registry API at all.
func InAPI(escapedPath string) bool {
	return escapedPath == "/v2" || strings.HasPrefix(escapedPath, "/v2/")
}

// Parse reads the escaped path and the raw query of a request for which InAPI
// holds. The error is an errcode.Error, with the status and the message for
// the client.
func (t *Table) Parse(escapedPath, rawQuery string) (Target, error) {
	var target Target
	ns, err := target.readQuery(rawQuery)
	if err != nil {
		return Target{}, err
	}
	path := strings.TrimPrefix(strings.TrimPrefix(escapedPath, "/v2"), "/")
	switch path {
	case "":
		return target, nil
	case "_catalog":
		target.Kind = Catalog
		return target, nil
	}
	if strings.HasSuffix(path, uploads+"/") {
		path = strings.TrimSuffix(path, "/") // as the specification has it
	}
	if path, err = unescape(path); err != nil {
		return Target{}, err
	}
	name, err := target.endpoint(path)
	if err != nil {
		return Target{}, err
	}
	if target.Kind == Manifests || target.Kind == Blobs {
		target.Query = ""
	}
	// Checked before the upstream is looked for, so that the message is about
	// what the client sent.
	if err := checkName(name); err != nil {
		return Target{}, err
	}
	rest := ""
	if target.Route, rest, err = t.route(name, ns); err != nil {
		return Target{}, err
	}
	if target.Route.Library && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	target.Repository = target.Route.Path + "/" + rest
	if err := checkName(target.Repository); err != nil {
		return Target{}, err
	}
	return target, nil
}

// readQuery keeps the query but for ns, which it returns.
func (t *Target) readQuery(raw string) (ns string, err error) {
	if raw == "" {
		return "", nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", errcode.ErrorCodeNameInvalid.WithMessage("the query is malformed: " + err.Error())
	}
	ns = query.Get("ns")
	query.Del("ns")
	t.Query = query.Encode()
	return ns, nil
}

// unescape checks the parts of a path and unescapes each. It refuses an escaped
// slash, so that a proxy in front of the cache and the cache see the same parts.
func unescape(path string) (string, error) {
	var plain []string
	for rest, more := path, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		escaped := strings.Contains(part, "%")
		if escaped {
			var err error
			if part, err = url.PathUnescape(part); err != nil {
				return "", errcode.ErrorCodeNameInvalid.WithMessage("the path is malformed: " + err.Error())
			}
		}
		switch {
		case part == "":
			return "", errcode.ErrorCodeNameInvalid.WithMessage("the path has an empty part; a single slash separates parts")
		case escaped && strings.Contains(part, "/"):
			return "", errcode.ErrorCodeNameInvalid.WithMessage("the path has an escaped slash (%2F); separate parts with a plain one")
		case part == "." || part == "..":
			return "", errcode.ErrorCodeNameInvalid.WithMessage("the path has a part " + quote(part) + ", which no repository name may have")
		}
		if strings.Contains(path, "%") {
			plain = append(plain, part)
		}
	}
	if plain == nil {
		return path, nil
	}
	return strings.Join(plain, "/"), nil
}

// endpoint reads the end of a path, and returns the name before it.
func (t *Target) endpoint(path string) (name string, err error) {
	if name, ok := strings.CutSuffix(path, uploads); ok {
		t.Kind = Uploads
		return name, nil
	}
	path, ref, _ := cutLast(path)
	if name, ok := strings.CutSuffix(path, uploads); ok {
		if !isUpload(ref) {
			return "", errcode.ErrorCodeBlobUploadInvalid.WithMessage("the upload " + quote(ref) + " is none of this cache's")
		}
		t.Kind, t.Reference = Uploads, ref
		return name, nil
	}
	name, last, ok := cutLast(path)
	if !ok {
		return "", noEndpoint()
	}
	kind := Kind(last)
	switch {
	case kind == Tags && ref == "list":
		t.Kind = kind
		return name, nil
	case kind == Manifests && !strings.Contains(ref, ":"):
		if !isTag(ref) {
			return "", errcode.ErrorCodeTagInvalid.WithMessage("the tag " + quote(ref) +
				" is invalid: up to 128 letters, digits, underscores, dots and dashes, the first no dot or dash")
		}
	case kind == Manifests || kind == Blobs || kind == Referrers:
		d := digest.Digest(ref)
		if err := checkDigest(d); err != nil {
			return "", err
		}
		t.Digest = d
	default:
		return "", noEndpoint()
	}
	t.Kind, t.Reference = kind, ref
	return name, nil
}

// cutLast cuts at the last slash.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

func noEndpoint() error {
	return errcode.ErrorCodeNameUnknown.WithMessage("not a path of the registry API: after the repository come " +
		"/manifests/<tag or digest>, /blobs/<digest>, /tags/list or /referrers/<digest>")
}

func checkDigest(d digest.Digest) error {
	algorithm, encoded, ok := strings.Cut(string(d), ":")
	switch {
	case !ok:
		return errcode.ErrorCodeDigestInvalid.WithMessage(quote(string(d)) + " is no digest; one looks like sha256:<64 hex digits>")
	case algorithm != digest.SHA256.String() && algorithm != digest.SHA512.String():
		return errcode.ErrorCodeDigestInvalid.WithMessage("the digest algorithm " + quote(algorithm) + " is not supported; sha256 and sha512 are")
	}
	if digits := 2 * digest.Algorithm(algorithm).Size(); len(encoded) != digits || !isHex(encoded) {
		return errcode.ErrorCodeDigestInvalid.WithMessage("the digest " + quote(string(d)) + " is invalid: after " + algorithm +
			": come " + strconv.Itoa(digits) + " hex digits in lower case")
	}
	return nil
}

func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return errcode.ErrorCodeNameInvalid.WithMessage("the repository name is " + strconv.Itoa(len(name)) +
			" bytes long, upstream included; at most " + strconv.Itoa(maxName) + " are allowed")
	case isName(name):
		return nil
	case strings.ContainsFunc(name, unicode.IsUpper):
		return errcode.ErrorCodeNameInvalid.WithMessage("the repository name " + quote(name) + " has capitals; names are lower case")
	case strings.Contains(name, ":"):
		return errcode.ErrorCodeNameInvalid.WithMessage("the repository name " + quote(name) +
			" has a colon; an upstream host:port is addressed as host_port")
	}
	return errcode.ErrorCodeNameInvalid.WithMessage("the repository name " + quote(name) +
		" is invalid: parts are lower case letters and digits, separated by one dot, one or two underscores, or dashes")
}

// maxQuoted keeps what a client sent from filling an error message.
const maxQuoted = 80

func quote(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	return strconv.QuoteToASCII(s)
}
