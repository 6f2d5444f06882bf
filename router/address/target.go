package address

import (
	"github.com/opencontainers/go-digest"

	"registrycache/config"
)

// Kind is what a request is about.
type Kind string

const (
	// Ping is /v2/, by which clients look for a registry and its challenge.
	Ping Kind = ""
	// Catalog is /v2/_catalog.
	Catalog Kind = "catalog"
	// Manifests is a manifest or an index, by tag or digest.
	Manifests Kind = "manifests"
	// Blobs is a layer or config.
	Blobs Kind = "blobs"
	// Tags is the list of a repository's tags.
	Tags Kind = "tags"
	// Referrers is the list of manifests whose subject is a digest.
	Referrers Kind = "referrers"
	// Uploads is a blob on its way in, or all of them where one begins.
	Uploads Kind = "uploads"
)

// uploads is what stands between a repository and the name of an upload.
const uploads = "/blobs/uploads"

// Target is one parsed request. Repository and all after it are set only for
// kinds that concern a repository.
type Target struct {
	Kind Kind
	// Query is the query as the worker gets it: without ns, in canonical order,
	// and empty for manifests and blobs, on whose answers it has no influence.
	Query string
	// Route is the upstream asked.
	Route config.Route
	// Repository is the canonical name; its first part is Route.Path.
	Repository string
	// Reference is the tag or digest, empty for Tags. That of Uploads is the name
	// of one, or empty.
	Reference string
	// Digest is Reference if that is a digest.
	Digest digest.Digest
}

// Path is the canonical path, which needs no escaping: it holds only
// characters that stand for themselves.
func (t Target) Path() string {
	switch t.Kind {
	case Ping:
		return "/v2/"
	case Catalog:
		return "/v2/_catalog"
	case Tags:
		return "/v2/" + t.Repository + "/tags/list"
	}
	if t.Kind == Uploads {
		return "/v2/" + t.Repository + uploads + "/" + t.Reference
	}
	return "/v2/" + t.Repository + "/" + string(t.Kind) + "/" + t.Reference
}

// String is the path and the query, all that an answer depends on.
func (t Target) String() string {
	if t.Query == "" {
		return t.Path()
	}
	return t.Path() + "?" + t.Query
}
