package registryworker

import (
	"github.com/distribution/distribution/v3/configuration"

	"registrycache/registryworker/app"
	"registrycache/registryworker/pullthrough"
)

// maxCatalog is the most names that one page of the catalog has; the app has no
// default of its own.
const maxCatalog = 1000

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
		HTTP:       app.HTTP(),
	}
	// Validation is of pushes.
	cfg.Validation.Disabled = true
	return cfg
}
