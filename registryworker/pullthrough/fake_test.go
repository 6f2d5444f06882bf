package pullthrough

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

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
	// hang makes all but the bodies of blobs and manifests wait until it is closed, or the
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

func (f *fakeUpstream) StatBlob(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	if err := f.calledSlowly(ctx, "stat"); err != nil {
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
	body := io.NopCloser(bytes.NewReader(b[offset:stop]))
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
