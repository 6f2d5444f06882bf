package warm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// fakeCache is a cache in front of an upstream that has everything, without a
// network: time may stand still around it.
type fakeCache struct {
	mu        sync.Mutex
	manifests map[string][]byte // by repository and reference
	types     map[string]string
	blobs     map[digest.Digest][]byte
	// stored is what the cache has, and keeps says whether it keeps anything.
	stored map[needKey]bool
	full   bool
	// faults are played once each, in their order, by method and end of the path.
	faults   map[string][]fault
	requests []*http.Request
	// manifestLoad and blobLoad are how many GETs there are at once.
	manifestLoad, blobLoad load
}

type load struct{ running, most int }

func (l *load) begin() { l.running++; l.most = max(l.most, l.running) }

func (l *load) end() { l.running-- }

// fault answers in the place of the cache; nil is to let it answer.
type fault func(*http.Request) (*http.Response, error)

func newFake() *fakeCache {
	return &fakeCache{
		manifests: map[string][]byte{}, types: map[string]string{}, blobs: map[digest.Digest][]byte{},
		stored: map[needKey]bool{}, faults: map[string][]fault{},
	}
}

// connect makes a Cache of it.
func (f *fakeCache) connect() *Cache {
	c := Connect(Connection{Scheme: "http", Host: testCache, UserAgent: "test"})
	c.client.Transport = f
	return c
}

func (f *fakeCache) blob(content []byte) v1.Descriptor {
	d := digest.FromBytes(content)
	f.blobs[d] = content
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(content))}
}

// put adds a manifest under a tag and its digest, and returns what an index says
// of it.
func (f *fakeCache) put(t *testing.T, repository, tag, mediaType string, content any) v1.Descriptor {
	t.Helper()
	payload, err := json.Marshal(content)
	require.NoError(t, err)
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(payload), Size: int64(len(payload))}
	for _, ref := range []string{tag, d.Digest.String()} {
		f.manifests[repository+" "+ref] = payload
		f.types[repository+" "+ref] = mediaType
	}
	return d
}

// image adds an image of the layers and a config of its own.
func (f *fakeCache) image(t *testing.T, repository, tag string, layers ...v1.Descriptor) v1.Descriptor {
	return f.put(t, repository, tag, v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		Config:    f.blob([]byte("config of " + repository + tag)), Layers: layers,
	})
}

// fail plays faults for requests whose path ends so.
func (f *fakeCache) fail(method, end string, faults ...fault) {
	f.faults[method+" "+end] = append(f.faults[method+" "+end], faults...)
}

func (f *fakeCache) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.requests = append(f.requests, r)
	kind := &load{}
	switch {
	case r.Method != http.MethodGet:
	case strings.Contains(r.URL.Path, "/manifests/"):
		kind = &f.manifestLoad
	case strings.Contains(r.URL.Path, "/blobs/"):
		kind = &f.blobLoad
	}
	kind.begin()
	var play fault
	for key, faults := range f.faults {
		method, end, _ := strings.Cut(key, " ")
		if len(faults) > 0 && r.Method == method && strings.HasSuffix(r.URL.Path, end) {
			play, f.faults[key] = faults[0], faults[1:]
		}
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		kind.end()
		f.mu.Unlock()
	}()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if play != nil {
		if response, err := play(r); response != nil || err != nil {
			return response, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answer(r), nil
}

func (f *fakeCache) answer(r *http.Request) *http.Response {
	if r.URL.Path == "/v2/" {
		return response(http.StatusOK, accesslog.Local, nil)
	}
	kind, ref := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
	repository := strings.TrimPrefix(path.Dir(path.Dir(r.URL.Path)), "/v2/")
	if kind == "manifests" {
		payload, known := f.manifests[repository+" "+ref]
		if !known {
			return refusal(http.StatusNotFound, "MANIFEST_UNKNOWN", "no such tag")
		}
		answer := response(http.StatusOK, accesslog.Miss, payload)
		answer.Header.Set("Content-Type", f.types[repository+" "+ref])
		answer.Header.Set("Docker-Content-Digest", digest.FromBytes(payload).String())
		return answer
	}
	content, known := f.blobs[digest.Digest(ref)]
	key := needKey{repository, digest.Digest(ref)}
	switch {
	case !known:
		return refusal(http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
	case r.Method == http.MethodHead && f.stored[key]:
		return response(http.StatusOK, accesslog.Hit, nil)
	case r.Method == http.MethodHead && f.has(key.digest):
		f.stored[key] = true // the upstream said yes
		return response(http.StatusOK, accesslog.Revalidated, nil)
	case r.Method == http.MethodHead:
		return response(http.StatusOK, accesslog.Passed, nil)
	}
	text, isRange := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !isRange {
		f.stored[key] = !f.full
		return response(http.StatusOK, accesslog.Miss, content)
	}
	first, _, _ := strings.Cut(text, "-")
	at, err := strconv.Atoi(first)
	if err != nil || at >= len(content) {
		return response(http.StatusRequestedRangeNotSatisfiable, accesslog.Miss, nil)
	}
	if at == len(content)-1 {
		f.stored[key] = !f.full
	}
	answer := response(http.StatusPartialContent, accesslog.Miss, content[at:at+1])
	answer.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, at, len(content)))
	return answer
}

// has says whether any repository has the blob.
func (f *fakeCache) has(d digest.Digest) bool {
	for key, stored := range f.stored {
		if stored && key.digest == d {
			return true
		}
	}
	return false
}

func response(status int, how accesslog.CacheStatus, body []byte) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{accesslog.HeaderName: {how.Header()}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func refusal(status int, code, message string) *http.Response {
	body, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
	if err != nil {
		panic(err)
	}
	return response(status, accesslog.Failed, body)
}

// broken are bodies that end in an error.
type broken struct{ io.Reader }

var errReset = errors.New("connection reset by peer")

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errReset
	}
	return n, err
}

// count is how many requests there were whose path ends so.
func (f *fakeCache) count(method, end string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if r.Method == method && strings.HasSuffix(r.URL.Path, end) {
			n++
		}
	}
	return n
}

func parse(t *testing.T, names ...string) []Image {
	t.Helper()
	var images []Image
	for _, name := range names {
		image, err := Names{}.Parse(name)
		require.NoError(t, err)
		images = append(images, image)
	}
	return images
}

var amd64 = []Platform{{OS: "linux", Architecture: "amd64"}}
