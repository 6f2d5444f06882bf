package warm

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// tries is how often a request is sent that fails in a way that may pass:
	// half a minute's worth. The cache itself is patient with its upstreams.
	tries = 6
	// maxAfter is how long to wait when the cache says how long. What takes
	// longer is better run again later.
	maxAfter = 2 * time.Minute
)

// persist tries until it works, has failed in a way that won't pass, or often
// enough. pause is how it waits in between.
func (r *run) persist(ctx context.Context, pause func(context.Context, time.Duration) error, what string, try func(context.Context) error) error {
	pauses := backoff.ExponentialBackOff{
		InitialInterval: time.Second, MaxInterval: 15 * time.Second, Multiplier: 2, RandomizationFactor: 0.2,
	}
	pauses.Reset()
	for n := 1; ; n++ {
		err := try(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || !passing(err) {
			return err
		}
		if n == tries {
			if unreachable(err) {
				// No other request will fare better.
				err = fmt.Errorf("the cache can't be reached: %w", err)
				r.giveUp(err)
			}
			return err
		}
		in := max(pauses.NextBackOff(), after(err))
		if in > maxAfter {
			return fmt.Errorf("%w; it wants to be asked again in %s", err, in)
		}
		r.watch.Retrying(what, err, in)
		if err := pause(ctx, in); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
