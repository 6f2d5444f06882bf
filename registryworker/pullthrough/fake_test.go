package pullthrough

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/fill"
	"registrycache/registryworker/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeUpstream is a registry in memory whose answers can be made to fail or to
// hang, and which counts.
type fakeUpstream struct {
	mu        sync.Mutex
	tags      map[string]digest.Digest // by repo:tag
	manifests map[string]typed         // by repo@digest
	blobs     map[string][]byte        // by repo@digest
	referrers map[string][]byte
	calls     map[string]int // by method
	// fail answers a method's calls with an error while it is set.
	fail map[string]error
	// hang makes all but blobs and manifests wait until it is closed, or the
	// context ends.
	hang chan struct{}
	// body replaces the bodies of blobs.
	body func(content []byte) io.ReadCloser
}

type typed struct {
	mediaType string
	payload   []byte
}

func newFake() *fakeUpstream {
	return &fakeUpstream{
		tags: map[string]digest.Digest{}, manifests: map[string]typed{}, blobs: map[string][]byte{},
		referrers: map[string][]byte{}, calls: map[string]int{}, fail: map[string]error{},
	}
}

func upErr(k upstream.Kind) error { return &upstream.Error{Upstream: "quay.io", Op: "test", Kind: k} }

// called counts a call and returns the failure that is set for it.
func (f *fakeUpstream) called(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	return f.fail[method]
}

func (f *fakeUpstream) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// failing sets or, with nil, clears the failure of methods.
func (f *fakeUpstream) failing(err error, methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range methods {
		f.fail[m] = err
	}
}

func (f *fakeUpstream) hanging() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang = make(chan struct{})
	return f.hang
}

// calledSlowly is called for what may hang.
func (f *fakeUpstream) calledSlowly(ctx context.Context, method string) error {
	err := f.called(method)
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang == nil {
		return err
	}
	select {
	case <-hang:
		return err
	case <-ctx.Done():
		return &upstream.Error{Upstream: "quay.io", Kind: upstream.Unavailable, Err: ctx.Err()}
	}
}

func (f *fakeUpstream) ResolveManifest(ctx context.Context, repo, ref string) (v1.Descriptor, error) {
	if err := f.calledSlowly(ctx, "resolve"); err != nil {
		return v1.Descriptor{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.tags[repo+":"+ref]
	if !ok {
		d = digest.Digest(ref)
	}
	m, ok := f.manifests[repo+"@"+d.String()]
	if !ok {
		return v1.Descriptor{}, upErr(upstream.NotFound)
	}
	return v1.Descriptor{MediaType: m.mediaType, Digest: d, Size: int64(len(m.payload))}, nil
}

func (f *fakeUpstream) Manifest(_ context.Context, repo string, d digest.Digest) (string, []byte, error) {
	if err := f.called("manifest"); err != nil {
		return "", nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.manifests[repo+"@"+d.String()]
	if !ok {
		return "", nil, upErr(upstream.NotFound)
	}
	return m.mediaType, m.payload, nil
}

func (f *fakeUpstream) blob(repo string, d digest.Digest) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[repo+"@"+d.String()]
	if !ok {
		return nil, upErr(upstream.NotFound)
	}
	return b, nil
}

func (f *fakeUpstream) StatBlob(_ context.Context, repo string, d digest.Digest) (int64, error) {
	if err := f.called("stat"); err != nil {
		return 0, err
	}
	b, err := f.blob(repo, d)
	return int64(len(b)), err
}

func (f *fakeUpstream) OpenBlob(_ context.Context, repo string, d digest.Digest, offset, end int64) (*upstream.Blob, error) {
	if err := f.called("open"); err != nil {
		return nil, err
	}
	b, err := f.blob(repo, d)
	if err != nil {
		return nil, err
	}
	stop := int64(len(b))
	if end >= 0 {
		stop = min(stop, end)
	}
	var body io.ReadCloser = io.NopCloser(bytes.NewReader(b[offset:stop]))
	if f.body != nil {
		body = f.body(b[offset:stop])
	}
	return &upstream.Blob{Body: body, Offset: offset, Size: int64(len(b)), Ranged: offset > 0 || end >= 0}, nil
}

func (f *fakeUpstream) Tags(ctx context.Context, repo string, n int, last string) ([]string, bool, error) {
	if err := f.calledSlowly(ctx, "tags"); err != nil {
		return nil, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var tags []string
	for k := range f.tags {
		if tag, ok := bytes.CutPrefix([]byte(k), []byte(repo+":")); ok && string(tag) > last {
			tags = append(tags, string(tag))
		}
	}
	if tags == nil && last == "" {
		return nil, false, upErr(upstream.NotFound)
	}
	slices.Sort(tags)
	if n >= 0 && len(tags) > n {
		return tags[:n], true, nil
	}
	return tags, false, nil
}

func (f *fakeUpstream) Referrers(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	if err := f.calledSlowly(ctx, "referrers"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	index, ok := f.referrers[repo+"@"+d.String()]
	if !ok {
		return nil, upErr(upstream.NotFound)
	}
	return index, nil
}

// addManifest makes the upstream have a manifest, under a tag unless it is "".
func (f *fakeUpstream) addManifest(repo, tag, mediaType string, payload []byte) digest.Digest {
	d := digest.FromBytes(payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manifests[repo+"@"+d.String()] = typed{mediaType, payload}
	if tag != "" {
		f.tags[repo+":"+tag] = d
	}
	return d
}

func (f *fakeUpstream) addBlob(repo, content string) v1.Descriptor {
	d := digest.FromString(content)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[repo+"@"+d.String()] = []byte(content)
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(content))}
}

// addImage makes the upstream have an image of a config and one layer.
func (f *fakeUpstream) addImage(t *testing.T, repo, tag, content string) (digest.Digest, []v1.Descriptor) {
	t.Helper()
	blobs := []v1.Descriptor{f.addBlob(repo, "config of "+content), f.addBlob(repo, content)}
	payload := encode(t, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest, Config: blobs[0], Layers: blobs[1:],
	})
	return f.addManifest(repo, tag, v1.MediaTypeImageManifest, payload), blobs
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// bench is a Cache over a fake upstream and a store of its own.
type bench struct {
	*Cache
	t   *testing.T
	up  *fakeUpstream
	dir string
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newBench(t *testing.T, change ...func(*Options)) *bench {
	t.Helper()
	return benchIn(t, t.TempDir(), newFake(), change...)
}

func benchIn(t *testing.T, dir string, up *fakeUpstream, change ...func(*Options)) *bench {
	t.Helper()
	store, err := images.Open(dir)
	require.NoError(t, err)
	log := &lockedBuffer{}
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
