package router

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"registrycache/logger/accesslog"
)

// maxKept bounds how long an answer is given again, whatever its max-age. The
// worker is asked again then, and finds out what happens behind the router's
// back: that the cleaner has evicted the manifest, or that it would not be
// served any more. A question a minute costs nothing.
const maxKept = time.Minute

// freshness is how long an answer of a worker may be given again (RFC 9111
// section 4.2); 0 is not at all. Only what the worker says counts: there is no
// guess where it says nothing. What is stale or an error is never kept.
func freshness(response *http.Response) time.Duration {
	header := response.Header
	if response.StatusCode != http.StatusOK || response.Close || len(header["Vary"]) > 0 {
		return 0 // a worker that closes the connection is about to end, and its word with it
	}
	switch accesslog.ParseHeader(header.Get(accesslog.HeaderName)) {
	case accesslog.Stale, accesslog.Failed:
		return 0
	}
	maxAge := 0
	for directive := range directives(header) {
		name, value, _ := strings.Cut(directive, "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache", "private":
			return 0
		case "max-age":
			seconds, err := strconv.Atoi(strings.Trim(value, `"`))
			if err != nil || seconds < 0 {
				return 0
			}
			maxAge = seconds
		}
	}
	// Compared as seconds, which can't overflow.
	fresh := maxAge - age(header)
	if fresh <= 0 {
		return 0
	}
	return time.Duration(min(fresh, int(maxKept/time.Second))) * time.Second
}

// shareable says whether an answer may be given to those who asked for the same
// at the same time. Only no-store forbids it: no-cache wants every request to
// be checked, and the one that brought the answer was under way for all.
func shareable(header http.Header) bool {
	for directive := range directives(header) {
		if strings.EqualFold(directive, "no-store") {
			return false
		}
	}
	return true
}

// directives yields those of Cache-Control.
func directives(header http.Header) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range header["Cache-Control"] {
			for directive := range strings.SplitSeq(line, ",") {
				if !yield(strings.TrimSpace(directive)) {
					return
				}
			}
		}
	}
}

// age is how old an answer was when it came, in seconds.
func age(header http.Header) int {
	seconds, err := strconv.Atoi(header.Get("Age"))
	if err != nil {
		return 0
	}
	return max(seconds, 0)
}
