package registryworker

import (
	"crypto/rand"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver named in appConfig

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
		// Paths are as the client sent them or as the router made them; the
		// scheme and host that it sees are not this process's to know.
		HTTP: configuration.HTTP{RelativeURLs: true, Secret: rand.Text()},
	}
	// Validation is of pushes.
	cfg.Validation.Disabled = true
	return cfg
}
