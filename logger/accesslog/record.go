// Package accesslog is the record that the router writes for every request
// and the logger reads: one JSON object a line.
package accesslog

import "time"

// WarmAgent begins the User-Agent of `registry-cache warm`, whose requests for
// single bytes have images fetched that nobody pulls yet.
const WarmAgent = "registry-cache-warm/"

// Record is one answered request. Empty fields are left out of the line.
type Record struct {
	Time       time.Time `json:"time"`
	RemoteAddr string    `json:"remote_addr"`
	User       string    `json:"user,omitempty"`
	Method     string    `json:"method"`
	// Path is the path as the client sent it, escaped.
	Path     string `json:"path"`
	Upstream string `json:"upstream,omitempty"`
	// Repository includes the upstream as its first part.
	Repository string `json:"repository,omitempty"`
	// Reference is the tag or digest the client asked for.
	Reference string `json:"reference,omitempty"`
	// Kind is manifests, blobs, uploads, tags, referrers, catalog, or empty.
	Kind string `json:"kind,omitempty"`
	// Digest is what the answer was about, also when a tag was asked for.
	Digest string `json:"digest,omitempty"`
	Status int    `json:"status"`
	// Bytes is the number of body bytes sent.
	Bytes int64 `json:"bytes"`
	// Duration is in seconds.
	Duration  float64     `json:"duration"`
	Cache     CacheStatus `json:"cache,omitempty"`
	UserAgent string      `json:"user_agent,omitempty"`
}
