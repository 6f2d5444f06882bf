package fill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"registrycache/registryworker/upstream"
)

const (
	firstDelay = 250 * time.Millisecond
	maxDelay   = 15 * time.Second
	// maxRetryAfter is the longest that an upstream may ask readers to wait.
	maxRetryAfter = 2 * time.Minute
	// patience is how long a client is kept without an answer because its
	// first request is tried again. It may have another place to go to.
	patience = 5 * time.Second
)

// permanent says that asking again would bring the same answer.
func permanent(err error) bool {
	switch upstream.KindOf(err) {
	case upstream.NotFound, upstream.Unauthorized, upstream.Denied, upstream.Invalid:
		return true
	}
	return false
}

// retries counts what failed since there was progress.
type retries struct {
	max    int
	failed int
	waited time.Duration
}

// progress forgets earlier failures.
func (r *retries) progress() { r.failed, r.waited = 0, 0 }

// unanswered returns how long to wait before a first request is made again, or
// the error to give to the client.
func (r *retries) unanswered(err error) (time.Duration, error) {
	if permanent(err) {
		return 0, err
	}
	delay, giveUp := r.broken(err)
	if giveUp != nil || r.waited > patience {
		return 0, err
	}
	return delay, nil
}

// broken returns how long to wait before going on after a failure midway, or an
// error when there were too many. Nothing is permanent here: the upstream did
// answer before.
func (r *retries) broken(err error) (time.Duration, error) {
	r.failed++
	if r.failed >= r.max {
		return 0, fmt.Errorf("given up after %d tries without a byte: %w", r.failed, err)
	}
	delay := min(firstDelay<<min(r.failed-1, 10), maxDelay)
	delay += rand.N(delay / 4)
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
		if e.RetryAfter > maxRetryAfter {
			return 0, fmt.Errorf("given up: %w", err)
		}
		delay = max(delay, e.RetryAfter)
	}
	r.waited += delay
	return delay, nil
}

// sleep returns early with the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
