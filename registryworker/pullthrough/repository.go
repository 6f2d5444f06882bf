package pullthrough

import (
	"context"
	"io"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	registrymw "github.com/distribution/distribution/v3/registry/middleware/registry"
	repositorymw "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
)

// middleware is the name under which distribution knows this package, and
// optionCache the option that holds the Cache of one app.
const (
	middleware  = "registry-cache"
	optionCache = "cache"
)

func init() {
	err := registrymw.Register(middleware, func(_ context.Context, r distribution.Namespace, _ driver.StorageDriver, opt map[string]any) (distribution.Namespace, error) {
		return namespace{Namespace: r, cache: opt[optionCache].(*Cache)}, nil
	})
	if err != nil {
		panic(err)
	}
	// The app puts a listener for notifications around each repository, which
	// parses and hashes every manifest again for events that nobody receives,
	// and logs an error for each media type it does not know. Middleware of
	// repositories comes after it, so this takes the repository out again.
	err = repositorymw.Register(middleware, func(_ context.Context, r distribution.Repository, opt map[string]any) (distribution.Repository, error) {
		return opt[optionCache].(*Cache).repository(r.Named()), nil
	})
	if err != nil {
		panic(err)
	}
}

// Middleware is the section of distribution's configuration that puts the
// cache into an app.
func (c *Cache) Middleware() map[string][]configuration.Middleware {
	m := []configuration.Middleware{{Name: middleware, Options: configuration.Parameters{optionCache: c}}}
	return map[string][]configuration.Middleware{"registry": m, "repository": m}
}

// namespace is distribution's own registry with the repositories replaced.
type namespace struct {
	distribution.Namespace
	cache *Cache
}

// Repositories lists those of this upstream that have something in the store.
func (n namespace) Repositories(ctx context.Context, repos []string, last string) (int, error) {
	prefix := n.cache.settings.Path + "/"
	names, more, err := n.cache.store.Repositories(ctx, max(last, prefix), len(repos))
	if err != nil {
		return 0, err
	}
	filled := 0
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			more = false
			break
		}
		repos[filled] = name
		filled++
	}
	if !more {
		return filled, io.EOF
	}
	return filled, nil
}

func (n namespace) Repository(_ context.Context, name reference.Named) (distribution.Repository, error) {
	return n.cache.repository(name), nil
}

// repository is one repository of the upstream.
type repository struct {
	*Cache
	named reference.Named
	// name is as in the store and on the wire, remote as the upstream knows it.
	name, remote string
}

func (c *Cache) repository(named reference.Named) *repository {
	name := named.Name()
	return &repository{Cache: c, named: named, name: name, remote: strings.TrimPrefix(name, c.settings.Path+"/")}
}

func (r *repository) Named() reference.Named { return r.named }

func (r *repository) Manifests(context.Context, ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	return manifestService{repository: r}, nil
}

func (r *repository) Tags(context.Context) distribution.TagService { return tagService{repository: r} }

func (r *repository) Blobs(context.Context) distribution.BlobStore { return blobStore{repository: r} }
