package registryworker

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver named in appConfig

	"registrycache/registryworker/pullthrough"
)

// maxCatalog is the most names that one page of the catalog has; the app has no
// default of its own.
const maxCatalog = 1000

// newApp returns distribution's app. It panics on what it can't use; that is an
// error here.
func newApp(ctx context.Context, cfg *configuration.Configuration) (app http.Handler, err error) {
	defer func() {
		if p := recover(); p != nil {
			app, err = nil, fmt.Errorf("distribution's registry app: %v", p)
		}
	}()
	return handlers.NewApp(ctx, cfg), nil
}

// appConfig is what distribution would read from its configuration file.
func appConfig(storeDir string, cache *pullthrough.Cache) *configuration.Configuration {
	cfg := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": storeDir},
			"redirect":   configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": true},
			},
		},
		Middleware: cache.Middleware(),
		Catalog:    configuration.Catalog{MaxEntries: maxCatalog},
		// Paths are as the client sent them or as the router made them; the
		// scheme and host that it sees are not this process's to know.
		HTTP: configuration.HTTP{RelativeURLs: true, Secret: rand.Text()},
	}
	// Validation is of pushes.
	cfg.Validation.Disabled = true
	return cfg
}
