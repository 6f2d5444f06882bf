package hosted

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"registrycache/images"
)

// collectEvery is how often garbage is looked for, if there can be any. Pushes
// wait while that goes on, which is moments for a store of usual size.
const collectEvery = time.Hour

// collector removes what no image needs: what was deleted through the API, what
// abandoned pushes left, and what `images rm` left for a push.
type collector struct {
	store *images.Store
	log   zerolog.Logger
	// due says that there may be something to collect.
	due atomic.Bool
}

// run collects until the context ends. What a former process left is due at
// once, but not so soon that it would slow down the start.
func (c *collector) run(ctx context.Context) {
	c.due.Store(true)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !c.due.Swap(false) {
			continue
		}
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.due.Store(true)
			c.log.Warn().Err(err).Msg("garbage could not be collected")
		}
	}
}

func (c *collector) collect(ctx context.Context) error {
	release, err := c.store.Collecting(ctx)
	if err != nil {
		return err
	}
	defer release()
	start := time.Now()
	list, err := c.store.List(ctx)
	if err != nil {
		return err
	}
	removal, err := list.PlanCollection(ctx, nil)
	if err != nil {
		return err
	}
	if err := removal.Run(ctx); err != nil {
		return err
	}
	if removal.Pledged+removal.Busy > 0 {
		c.due.Store(true)
	}
	if freed := removal.Freed; freed.Blobs > 0 {
		c.log.Info().Int64("bytes", freed.Bytes).Int("blobs", freed.Blobs).
			Stringer("took", time.Since(start).Round(time.Millisecond)).Msg("garbage of pushes collected")
	}
	return nil
}
