package address

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
)

// maxName is distribution's limit for a whole repository name, in bytes.
const maxName = 255

// The grammar of the OCI distribution specification, "Pulling manifests".
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// InAPI says whether a path belongs to the registry API at all.
func InAPI(escapedPath string) bool {
	return escapedPath == "/v2" || strings.HasPrefix(escapedPath, "/v2/")
}

// Parse reads the escaped path and the raw query of a request for which InAPI
// holds. The error is an errcode.Error, with the status and the message for
// the client.
func (t *Table) Parse(escapedPath, rawQuery string) (Target, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return Target{}, errcode.ErrorCodeNameInvalid.WithMessage("the query is malformed: " + err.Error())
	}
	ns := query.Get("ns")
	query.Del("ns")
	target := Target{Query: query.Encode()}

	path := strings.TrimPrefix(strings.TrimPrefix(escapedPath, "/v2"), "/")
	switch path {
	case "":
		return target, nil
	case "_catalog":
		target.Kind = Catalog
		return target, nil
	}
	parts, err := split(path)
	if err != nil {
		return Target{}, err
	}
	name, err := target.endpoint(parts)
	if err != nil {
		return Target{}, err
	}
	if target.Kind == Manifests || target.Kind == Blobs {
		target.Query = ""
	}
	// Checked before the upstream is looked for, so that the message is about
	// what the client sent.
	if err := checkName(strings.Join(name, "/")); err != nil {
		return Target{}, err
	}
	if target.Route, name, err = t.route(name, ns); err != nil {
		return Target{}, err
	}
	if len(name) == 1 && target.Route.Library {
		name = []string{"library", name[0]}
	}
	target.Repository = target.Route.Path + "/" + strings.Join(name, "/")
	if err := checkName(target.Repository); err != nil {
		return Target{}, err
	}
	return target, nil
}

// split cuts the path before it unescapes, and refuses an escaped slash, so that
// a proxy in front of the cache and the cache see the same parts.
func split(path string) ([]string, error) {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		switch {
		case err != nil:
			return nil, errcode.ErrorCodeNameInvalid.WithMessage("the path is malformed: " + err.Error())
		case plain == "":
			return nil, errcode.ErrorCodeNameInvalid.WithMessage("the path has an empty part; a single slash separates parts")
		case strings.Contains(plain, "/"):
			return nil, errcode.ErrorCodeNameInvalid.WithMessage("the path has an escaped slash (%2F); separate parts with a plain one")
		case plain == "." || plain == "..":
			return nil, errcode.ErrorCodeNameInvalid.WithMessage("the path has a part " + quote(plain) + ", which no repository name may have")
		}
		parts[i] = plain
	}
	return parts, nil
}

// endpoint reads the end of a path, and returns the name before it.
func (t *Target) endpoint(parts []string) (name []string, err error) {
	if len(parts) < 3 {
		return nil, noEndpoint()
	}
	name, kind, ref := parts[:len(parts)-2], Kind(parts[len(parts)-2]), parts[len(parts)-1]
	switch {
	case kind == Tags && ref == "list":
		t.Kind = kind
		return name, nil
	case kind == Manifests && !strings.Contains(ref, ":"):
		if !tagPattern.MatchString(ref) {
			return nil, errcode.ErrorCodeTagInvalid.WithMessage("the tag " + quote(ref) +
				" is invalid: up to 128 letters, digits, underscores, dots and dashes, the first no dot or dash")
		}
	case kind == Manifests || kind == Blobs || kind == Referrers:
		d := digest.Digest(ref)
		if err := checkDigest(d); err != nil {
			return nil, err
		}
		t.Digest = d
	default:
		return nil, noEndpoint()
	}
	t.Kind, t.Reference = kind, ref
	return name, nil
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
	if err := digest.Algorithm(algorithm).Validate(encoded); err != nil {
		digits := strconv.Itoa(2 * digest.Algorithm(algorithm).Size())
		return errcode.ErrorCodeDigestInvalid.WithMessage("the digest " + quote(string(d)) + " is invalid: after " + algorithm +
			": come " + digits + " hex digits in lower case")
	}
	return nil
}

func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return errcode.ErrorCodeNameInvalid.WithMessage("the repository name is " + strconv.Itoa(len(name)) +
			" bytes long, upstream included; at most " + strconv.Itoa(maxName) + " are allowed")
	case namePattern.MatchString(name):
		return nil
	case strings.ToLower(name) != name:
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
