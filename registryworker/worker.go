package registryworker

import (
	"context"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/registryworker/app"
	"registrycache/registryworker/fill"
	"registrycache/registryworker/pullthrough"
	"registrycache/registryworker/upstream"
	"registrycache/status"
)

// fillTimeout is how long fills may take to write down how far they came.
const fillTimeout = 5 * time.Second

// Run serves the upstream on ln until ctx is done; then it finishes what is in
// flight and returns nil. ready is called once requests are answered, with what
// tells from then on why the store is not written, and "" while it is; before
// that tell is, with what tells of the upstream and of the fills. Run takes over
// logrus' standard logger, which distribution logs to.
func Run(ctx context.Context, s config.Worker, ln net.Listener, log zerolog.Logger, reg prometheus.Registerer, ready func(degraded func() string), tell func(func() status.Part)) error {
	app.BridgeLogs(log)
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
	registry, err := app.New(ctx, appConfig(s.StoreDir, cache))
	if err != nil {
		return err
	}
	tell(func() status.Part { return part(client, cache, fills) })
	return app.Serve(ctx, ln, cache.Handler(registry), s.Drain, log, func() { ready(health.reason) })
}

func closeFills(fills *fill.Engine, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
	defer cancel()
	if err := fills.Close(ctx); err != nil {
		log.Warn().Err(err).Msg("fills did not end in time; they go on from what is on disk")
	}
}
