package upstream

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contentRange is what a 206 answer holds: the bytes first to last, both
// inclusive, of a whole of size bytes, which is -1 when the server doesn't know.
type contentRange struct{ first, last, size int64 }

// parseContentRange reads the header of RFC 9110 section 14.4. The form of an
// unsatisfied range ("bytes */10") is an error: a 206 can't have it.
func parseContentRange(v string) (contentRange, error) {
	bad := errors.New("malformed Content-Range")
	unit, rest, ok := strings.Cut(strings.TrimSpace(v), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, bad
	}
	span, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return contentRange{}, bad
	}
	from, to, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, bad
	}
	r := contentRange{size: -1}
	if r.first, ok = parseDigits(from); !ok {
		return contentRange{}, bad
	}
	if r.last, ok = parseDigits(to); !ok || r.last < r.first || r.last == math.MaxInt64 {
		return contentRange{}, bad
	}
	if total == "*" {
		return r, nil
	}
	if r.size, ok = parseDigits(total); !ok || r.last >= r.size {
		return contentRange{}, bad
	}
	return r, nil
}

// parseDigits is ParseInt without signs.
func parseDigits(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// maxRetryAfter is the longest wait that is believed.
const maxRetryAfter = 24 * time.Hour

// parseRetryAfter reads the header of RFC 9110 section 10.2.3: seconds, or a
// date. Anything else, and what is past, is 0.
func parseRetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if n, ok := parseDigits(v); ok {
		return time.Duration(min(n, int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	wait := min(max(at.Sub(now), 0), maxRetryAfter)
	// A date has whole seconds: rounding up keeps us from being early.
	return (wait + time.Second - 1).Truncate(time.Second)
}

// maxWindow is the longest time window of a rate limit that is believed.
const maxWindow = 365 * 24 * time.Hour

// quota is a number of pulls in a time window, which is 0 when it was not given.
type quota struct {
	pulls  int64
	window time.Duration
}

// parseQuota reads a value of Docker Hub's ratelimit-limit and
// ratelimit-remaining, such as "100;w=21600": a number, and the window in
// seconds.
func parseQuota(v string) (quota, bool) {
	first, params, _ := strings.Cut(v, ";")
	n, ok := parseDigits(strings.TrimSpace(first))
	if !ok {
		return quota{}, false
	}
	q := quota{pulls: n}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if seconds, ok := parseDigits(value); ok && name == "w" && seconds <= int64(maxWindow/time.Second) {
			q.window = time.Duration(seconds) * time.Second
		}
	}
	return q, true
}

// nextLink returns the target of the first link with the relation "next"
// (RFC 8288), or "".
func nextLink(lines []string) string {
	for _, line := range lines {
		for line != "" {
			line = strings.TrimLeft(line, ", \t")
			if !strings.HasPrefix(line, "<") {
				break
			}
			target, params, ok := strings.Cut(line[1:], ">")
			if !ok {
				break
			}
			var isNext bool
			isNext, line = linkParams(params)
			if isNext {
				return target
			}
		}
	}
	return ""
}

// linkParams reads the parameters of one link; rest starts with the next link.
func linkParams(s string) (isNext bool, rest string) {
	p := scanner{s}
	for {
		p.skip(" \t")
		if !strings.HasPrefix(p.rest, ";") {
			return isNext, p.rest
		}
		p.skip("; \t")
		name := p.token()
		p.skip(" \t")
		if !strings.HasPrefix(p.rest, "=") {
			continue
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value := p.value(";, \t")
		if strings.EqualFold(name, "rel") {
			for rel := range strings.FieldsSeq(value) {
				isNext = isNext || strings.EqualFold(rel, "next")
			}
		}
	}
}
