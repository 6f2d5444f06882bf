package accesslog

import "strings"

// CacheStatus is how an answer came about, one word.
type CacheStatus string

const (
	// Hit was served from the store, the upstream was not asked.
	Hit CacheStatus = "hit"
	// Revalidated was served from the store after the upstream confirmed it.
	Revalidated CacheStatus = "revalidated"
	// Stale was served from the store although the upstream could not confirm it.
	Stale CacheStatus = "stale"
	// Miss was fetched from the upstream for this request.
	Miss CacheStatus = "miss"
	// Collapsed was fetched from the upstream for another, concurrent request.
	Collapsed CacheStatus = "collapsed"
	// Passed was fetched from the upstream and could not be stored.
	Passed CacheStatus = "passed"
	// Failed is an error: neither cache nor upstream had it.
	Failed CacheStatus = "failed"
	// Local was answered by the cache itself; there was nothing to look up.
	Local CacheStatus = "local"
)

// HeaderName is the response header of RFC 9211.
const HeaderName = "Cache-Status"

// cacheName identifies this cache in the header (RFC 9211 section 2).
const cacheName = "registry-cache"

var params = map[CacheStatus]string{
	Hit:         "hit",
	Revalidated: "fwd=stale; fwd-status=200; detail=revalidated",
	Stale:       "hit; detail=stale",
	Miss:        "fwd=uri-miss; stored",
	Collapsed:   "fwd=uri-miss; collapsed",
	Passed:      "fwd=uri-miss; detail=not-stored",
	Failed:      "fwd=uri-miss; detail=failed",
	Local:       "detail=local",
}

// Header returns the value of the Cache-Status header.
func (s CacheStatus) Header() string { return cacheName + "; " + params[s] }

// ParseHeader is the inverse of Header; a value of any other form is "".
func ParseHeader(v string) CacheStatus {
	p, ok := strings.CutPrefix(v, cacheName+"; ")
	if !ok {
		return ""
	}
	for s, q := range params {
		if p == q {
			return s
		}
	}
	return ""
}
