package pullthrough

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/logger/logtest"
	"registrycache/registryworker/fill"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a Cache over a fake upstream and a store of its own.
type bench struct {
	*Cache
	t   *testing.T
	up  *fakeUpstream
	dir string
	log *logtest.Buffer
}

func newBench(t *testing.T, change ...func(*Options)) *bench {
	t.Helper()
	return benchIn(t, t.TempDir(), newFake(), change...)
}

func benchIn(t *testing.T, dir string, up *fakeUpstream, change ...func(*Options)) *bench {
	t.Helper()
	store, err := images.Open(dir)
	require.NoError(t, err)
	log := &logtest.Buffer{}
	logger := zerolog.New(log)
	fills := fill.New(store, fill.Options{Log: logger, Registerer: prometheus.NewRegistry()})
	opt := Options{
		Settings: config.Upstream{Name: "quay.io", Path: "quay.io", StaleIfError: config.Always},
		Store:    store, Client: up, Fills: fills, Log: logger, Registerer: prometheus.NewRegistry(),
	}
	for _, c := range change {
		c(&opt)
	}
	cache, err := New(opt)
	require.NoError(t, err)
	t.Cleanup(func() {
		cache.Close()
		require.NoError(t, fills.Close(context.Background()))
	})
	return &bench{Cache: cache, t: t, up: up, dir: dir, log: log}
}

// breakStore makes every further write to parts of the store fail, for root
// too.
func (b *bench) breakStore(parts ...string) {
	b.t.Helper()
	for _, sub := range parts {
		path := filepath.Join(b.dir, "docker/registry/v2", sub)
		require.NoError(b.t, os.Rename(path, path+".moved"))
		require.NoError(b.t, os.WriteFile(path, nil, 0o444))
	}
}

// repo returns a repository of the upstream.
func (b *bench) repo(remote string) *repository {
	b.t.Helper()
	named, err := reference.WithName(b.settings.Path + "/" + remote)
	require.NoError(b.t, err)
	return b.repository(named)
}

// got is what a client would see of an answer.
type got struct {
	digest       digest.Digest
	payload      string
	mediaType    string
	cache        accesslog.CacheStatus
	cacheControl string
	err          error
	header       http.Header
}

// byTag asks for a manifest as the app does: the tag, then the manifest.
func (b *bench) byTag(remote, tag string) got {
	w := httptest.NewRecorder()
	ctx := withExchange(context.Background(), &exchange{w: w})
	repo := b.repo(remote)
	desc, err := repo.Tags(ctx).Get(ctx, tag)
	if err != nil {
		return finish(w, nil, "", err)
	}
	return manifestOf(ctx, w, repo, desc.Digest, distribution.WithTag(tag))
}

func (b *bench) byDigest(remote string, d digest.Digest) got {
	w := httptest.NewRecorder()
	return manifestOf(withExchange(context.Background(), &exchange{w: w}), w, b.repo(remote), d)
}

func manifestOf(ctx context.Context, w *httptest.ResponseRecorder, repo *repository, d digest.Digest, opts ...distribution.ManifestServiceOption) got {
	svc, err := repo.Manifests(ctx)
	if err != nil {
		return finish(w, nil, d, err)
	}
	m, err := svc.Get(ctx, d, opts...)
	return finish(w, m, d, err)
}

func finish(w *httptest.ResponseRecorder, m distribution.Manifest, d digest.Digest, err error) got {
	g := got{
		digest: d, err: err, header: w.Header(),
		cache:        accesslog.ParseHeader(w.Header().Get(accesslog.HeaderName)),
		cacheControl: w.Header().Get("Cache-Control"),
	}
	if m != nil {
		mediaType, payload, payloadErr := m.Payload()
		g.mediaType, g.payload = mediaType, string(payload)
		if payloadErr != nil {
			g.err = payloadErr
		}
	}
	return g
}

// serveBlob asks for a blob as the app does.
func (b *bench) serveBlob(remote string, d digest.Digest, req *http.Request) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	ctx := withExchange(context.Background(), &exchange{w: w})
	blobs := b.repo(remote).Blobs(ctx)
	desc, err := blobs.Stat(ctx, d)
	if err != nil {
		return w, err
	}
	return w, blobs.ServeBlob(ctx, w, req.WithContext(ctx), desc.Digest)
}

// have stores blobs as a pull would. A reader has its last byte before the blob
// is in its place.
func (b *bench) have(remote string, blobs ...v1.Descriptor) {
	b.t.Helper()
	for _, d := range blobs {
		_, err := b.serveBlob(remote, d.Digest, httptest.NewRequest(http.MethodGet, "/", nil))
		require.NoError(b.t, err)
		require.Eventually(b.t, func() bool {
			_, err := b.store.StatBlob(d.Digest)
			return err == nil && b.store.HasLink("quay.io/"+remote, images.Layer, d.Digest)
		}, 10*time.Second, time.Millisecond)
	}
}
