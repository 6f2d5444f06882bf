package upstream

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"registrycache/status"
)

// history is what became of the requests so far, as far as it says something
// about the upstream and not about what was asked for.
type history struct {
	mu       sync.Mutex
	answered time.Time
	failing  bool // the last request failed
	failure  *status.Failure
	limit    *status.RateLimit
}

// answer notes that the upstream did what it is there for.
func (h *history) answer() {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered, h.failing = now, false
}

// ended notes that a request ended with an *Error.
func (h *history) ended(method string, err error) {
	switch {
	case errors.Is(err, context.Canceled): // the caller's will
	case faulty(err) && (method != http.MethodHead || !headRefused(err)):
		h.fail(err)
	default:
		h.answer()
	}
}

func (h *history) fail(err error) {
	// What was noted may be read for long; it must not change any more.
	f := &status.Failure{Time: time.Now(), Text: err.Error()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing, h.failure = true, f
}

// faulty says whether an error stands in the way of other pulls, too. That the
// upstream lacks what was asked for, or does not give it to everybody, says that
// it works.
func faulty(err error) bool {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return true
	case e.Kind == RateLimited || e.Kind == Unavailable:
		return true
	case e.Kind == Invalid:
		return e.Status/100 != 4 // such a status is about this request
	case e.Kind == Unauthorized:
		return e.refused || e.Status == 0 // without a status, no token server was to be trusted
	}
	return false
}

// allowance notes what the upstream says about its limits; nil is nothing.
func (h *history) allowance(limit, remaining *quota) {
	if limit == nil && remaining == nil {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	var next status.RateLimit // another: the last one may have been given out
	if h.limit != nil {
		next = *h.limit
	}
	next.Time = now
	if remaining != nil {
		next.Remaining, next.Window = remaining.pulls, status.Seconds(remaining.window)
	}
	if limit != nil {
		next.Limit, next.Window = limit.pulls, status.Seconds(limit.window)
	}
	h.limit = &next
}

// rateLimit reads what Docker Hub says about its limits.
func (c *Client) rateLimit(h http.Header) {
	limit, remaining := quotaIn(h, "RateLimit-Limit"), quotaIn(h, "RateLimit-Remaining")
	if limit != nil {
		c.metrics.limit.WithLabelValues().Set(float64(limit.pulls))
	}
	if remaining != nil {
		c.metrics.remaining.WithLabelValues().Set(float64(remaining.pulls))
	}
	c.history.allowance(limit, remaining)
}

func quotaIn(h http.Header, name string) *quota {
	if q, ok := parseQuota(h.Get(name)); ok {
		return &q
	}
	return nil
}

// Status returns what the requests so far have shown: all of it but what only
// the client's user knows, that is Path, Circuit and whether it is Offline.
func (c *Client) Status() status.Upstream {
	u := status.Upstream{Name: c.name, State: status.Answering, Credentials: c.auth.health.verdict(c.auth.credentials)}
	h := &c.history
	h.mu.Lock()
	defer h.mu.Unlock()
	u.Answered, u.Failure, u.RateLimit = h.answered, h.failure, h.limit
	switch {
	case h.failing:
		u.State = status.Failing
	case h.answered.IsZero():
		u.State = status.Untried
	}
	return u
}
