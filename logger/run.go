// Package logger is the role that makes use visible on disk: it follows the
// access log and bumps the access time of what was pulled, so that the cleaner
// can evict what nobody needs. A pull of a manifest counts for the whole image
// as far as it is here, because clients that have the layers don't ask for
// them again, and images should age whole.
//
// Nothing depends on it: without it pulls work, only the order of eviction
// suffers.
package logger

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
)

// Run follows the access log until the context ends, and returns nil then. It
// calls ready once everything that can fail at the start did not.
func Run(ctx context.Context, s config.Logger, log zerolog.Logger, reg prometheus.Registerer, ready func()) error {
	store, err := images.Open(s.StoreDir)
	if err != nil {
		return err
	}
	follower := accesslog.NewFollower(s.AccessLog, accesslog.FollowerOptions{Log: log})
	u := newUses(store, log)
	for _, c := range append(u.metrics.all(), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "registry_cache_logger_gaps_total",
		Help: "Times the place in the access log was lost, so that uses may have been missed.",
	}, func() float64 { return float64(follower.Gaps()) })) {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("logger: %w", err)
		}
	}
	ready()
	return follower.Run(ctx, u.line)
}
