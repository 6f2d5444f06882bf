package registryworker

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/registryworker/fill"
	"registrycache/registryworker/pullthrough"
	"registrycache/registryworker/upstream"
)

const (
	// fillTimeout is how long fills may take to write down how far they came.
	fillTimeout       = 5 * time.Second
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than the router keeps an idle connection, so that
	// it never sends a request on one that closes in this moment.
	idleTimeout = 5 * time.Minute
)

// Run serves the upstream on ln until ctx is done; then it finishes what is in
// flight and returns nil. ready is called once requests are answered, with what
// tells from then on why the store is not written, and "" while it is. Run takes
// over logrus' standard logger, which distribution logs to.
func Run(ctx context.Context, s config.Worker, ln net.Listener, log zerolog.Logger, reg prometheus.Registerer, ready func(degraded func() string)) error {
	bridgeLogs(log)
	store, err := images.Open(s.StoreDir)
	if err != nil {
		return err
	}
	client, err := upstream.New(s.Upstream, upstream.Options{
		Proxy: s.Proxy, Log: log, Registerer: reg, Timeouts: upstream.Timeouts{IdleBody: s.Upstream.IdleTimeout},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	// The fill engine knows of no upstream, but its metrics meet those of other
	// workers on one page.
	ofUpstream := prometheus.WrapRegistererWith(prometheus.Labels{"upstream": s.Upstream.Name}, reg)
	fills := fill.New(store, fill.Options{
		Log: log, Registerer: ofUpstream, IdleTimeout: s.Upstream.IdleTimeout,
		ParallelFrom: s.Upstream.ParallelFrom, Connections: s.Upstream.Connections, MaxBlob: s.MaxBlob,
	})
	defer closeFills(fills, log)
	health := storeHealth{fills.Degraded}
	if err := ofUpstream.Register(health); err != nil {
		return err
	}
	cache, err := pullthrough.New(pullthrough.Options{
		Settings: s.Upstream, Offline: s.Offline, Store: store,
		Client: client, Fills: fills, Log: log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	defer cache.Close()
	app, err := newApp(ctx, appConfig(s.StoreDir, cache))
	if err != nil {
		return err
	}
	return serve(ctx, ln, cache.Handler(app), s.Drain, log, func() { ready(health.reason) })
}

func closeFills(fills *fill.Engine, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
	defer cancel()
	if err := fills.Close(ctx); err != nil {
		log.Warn().Err(err).Msg("fills did not end in time; they go on from what is on disk")
	}
}

// serve answers requests until ctx is done and those in flight are finished, or
// have had the time of a drain.
func serve(ctx context.Context, ln net.Listener, h http.Handler, drain time.Duration, log zerolog.Logger, ready func()) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          stdlog.New(errorLog{log}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	ready()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.Shutdown(limit)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn().Stringer("after", drain).Msg("requests were still in flight; they are cut off")
		err = server.Close()
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// errorLog takes what net/http has to say: panics of handlers, above all.
type errorLog struct{ log zerolog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	l.log.Error().Str("from", "net/http").Msg(string(p))
	return len(p), nil
}
