// Package app is what the workers share: distribution's registry app as a plain
// handler, its log lines in ours, and the loop that serves it.
package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver of all workers
)

// New returns distribution's app. It panics on what it can't use; that is an
// error here.
func New(ctx context.Context, cfg *configuration.Configuration) (app http.Handler, err error) {
	defer func() {
		if p := recover(); p != nil {
			app, err = nil, fmt.Errorf("distribution's registry app: %v", p)
		}
	}()
	return handlers.NewApp(ctx, cfg), nil
}

// HTTP is how the app is reached: paths are as the client sent them or as the
// router made them, and the scheme and host that it sees are not this process's
// to know.
func HTTP() configuration.HTTP {
	return configuration.HTTP{RelativeURLs: true, Secret: rand.Text()}
}
