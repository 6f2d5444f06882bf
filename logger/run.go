// Package logger is the role that makes use visible: it follows the access log
// and bumps the access time of what was pulled, so that the cleaner can evict
// what nobody needs, and counts the traffic. A pull of a manifest counts for
// the whole image as far as it is here, because clients that have the layers
// don't ask for them again, and images should age whole.
//
// Nothing depends on it: without it pulls work, only the order of eviction
// and what is shown of the traffic suffer.
package logger

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/status"
)

// Run follows the access log until the context ends, and returns nil then. It
// calls ready once everything that can fail at the start did not, and tell,
// before that, with what knows the traffic.
func Run(ctx context.Context, s config.Logger, log zerolog.Logger, reg prometheus.Registerer,
	ready func(), tell func(part func() status.Part)) error {
	store, err := images.Open(s.StoreDir)
	if err != nil {
		return err
	}
	l, from := newLines(store, log)
	follower := accesslog.NewFollower(s.AccessLog, accesslog.FollowerOptions{Log: log, From: from, At: l.tally.At})
	if err := l.metrics.register(reg, follower.Gaps); err != nil {
		return err
	}
	tell(func() status.Part { return status.Part{Traffic: l.tally.Traffic()} })
	ready()
	defer l.tally.Close()
	return follower.Run(ctx, l.line)
}
