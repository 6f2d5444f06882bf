package hosted

import (
	"context"
	"net"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/registryworker/app"
	"registrycache/status"
)

// Run takes pushes and serves what was pushed on ln until ctx is done; then it
// finishes what is in flight and returns nil. ready is called once requests are
// answered. tell is given what says how much there is. Run takes over logrus'
// standard logger, which distribution logs to.
func Run(ctx context.Context, s config.HostedWorker, ln net.Listener, log zerolog.Logger, ready func(), tell func(func() status.Part)) error {
	app.BridgeLogs(log)
	dir := images.HostedDir(s.StoreDir)
	store, err := images.Open(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	registry, err := app.New(ctx, appConfig(dir))
	if err != nil {
		return err
	}
	usage := newMeter(ctx, s.Prefix, store, log)
	defer usage.close()
	tell(usage.part)
	garbage := &collector{store: store, log: log}
	var collecting sync.WaitGroup
	defer collecting.Wait()
	defer cancel()
	collecting.Go(func() { garbage.run(ctx) })
	h := newHandler(s.Prefix, store, registry, garbage, log)
	return app.Serve(ctx, ln, h, s.Drain, log, ready)
}

// The purge of uploads that nobody goes on with. Their age counts from their
// beginning.
const (
	uploadAge     = "168h"
	purgeInterval = "24h"
)

// appConfig is what distribution would read from its configuration file.
func appConfig(dir string) *configuration.Configuration {
	cfg := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": dir},
			"redirect":   configuration.Parameters{"disable": true},
			"delete":     configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{
					"enabled": true, "age": uploadAge, "interval": purgeInterval, "dryrun": false,
				},
			},
		},
		Catalog: configuration.Catalog{MaxEntries: maxCatalog},
		HTTP:    app.HTTP(),
	}
	// Layers that may not be distributed name where they are to be had; that is
	// for those who pull, nothing is fetched here.
	cfg.Validation.Manifests.URLs.Allow = []string{"^https?://"}
	return cfg
}

// maxCatalog is for distribution's own catalog, which nobody is shown.
const maxCatalog = 100
