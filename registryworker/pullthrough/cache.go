package pullthrough

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/registryworker/fill"
	"registrycache/registryworker/upstream"
	"registrycache/status"
)

// Upstream is what is asked of the registry behind the cache. Repository names
// are the upstream's own. Errors are *upstream.Error.
type Upstream interface {
	ResolveManifest(ctx context.Context, repo, reference string) (v1.Descriptor, error)
	Manifest(ctx context.Context, repo string, d digest.Digest) (mediaType string, payload []byte, err error)
	StatBlob(ctx context.Context, repo string, d digest.Digest) (int64, error)
	OpenBlob(ctx context.Context, repo string, d digest.Digest, offset, end int64) (*upstream.Blob, error)
	Tags(ctx context.Context, repo string, n int, last string) (tags []string, more bool, err error)
	Referrers(ctx context.Context, repo string, d digest.Digest) ([]byte, error)
}

// Options are what a Cache is made of. All fields are required.
type Options struct {
	// Settings are those of the upstream; the credentials' scopes are read for
	// error messages, nothing else of them.
	Settings config.Upstream
	// Offline asks no upstream for anything.
	Offline    bool
	Store      *images.Store
	Client     Upstream
	Fills      *fill.Engine
	Log        zerolog.Logger
	Registerer prometheus.Registerer
}

// Cache is one upstream, cached.
type Cache struct {
	settings config.Upstream
	offline  bool
	store    *images.Store
	upstream Upstream
	fills    *fill.Engine
	log      zerolog.Logger
	metrics  *metrics

	background *background
	circuit    *circuit
	checks     *flights[tagCheck]
	manifests  *flights[fetchedManifest]
	referrers  *flights[fetchedReferrers]
	stats      *flights[int64]
	// states remembers when tags and referrers were last asked for. Forgetting
	// one costs a question to the upstream, nothing else.
	states *lru.Cache[string, state]
}

// maxStates bounds the memory that remembered checks take, to about 2 MiB.
const maxStates = 8192

// New returns a Cache. Close ends what it does in the background.
func New(opt Options) (*Cache, error) {
	states, err := lru.New[string, state](maxStates)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(opt.Registerer, opt.Settings.Name)
	if err != nil {
		return nil, err
	}
	bg := newBackground()
	return &Cache{
		settings:   opt.Settings,
		offline:    opt.Offline,
		store:      opt.Store,
		upstream:   opt.Client,
		fills:      opt.Fills,
		log:        opt.Log,
		metrics:    metrics,
		background: bg,
		circuit:    newCircuit(opt.Settings.Name, opt.Log, metrics),
		checks:     newFlights[tagCheck](bg),
		manifests:  newFlights[fetchedManifest](bg),
		referrers:  newFlights[fetchedReferrers](bg),
		stats:      newFlights[int64](bg),
		states:     states,
	}, nil
}

// Describe adds to what the upstream's client knows of it what is known here:
// its path, whether the circuit is open, and whether it is asked at all.
func (c *Cache) Describe(u *status.Upstream) {
	u.Path = c.settings.Path
	circuit, failure := c.circuit.state()
	u.Circuit = circuit
	if failure != nil && (u.Failure == nil || failure.Time.After(u.Failure.Time)) {
		u.Failure = failure
	}
	switch {
	case c.offline:
		u.State = status.Offline
	case u.Circuit == status.CircuitOpen:
		u.State = status.Failing
	}
}

// Close cancels what is asked of the upstream in the background and waits for
// its end. Requests that come later are answered from the store alone.
func (c *Cache) Close() {
	c.circuit.close()
	c.background.close()
}
