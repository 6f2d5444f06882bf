package bench

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// upstream is a registry in this process that has one image, and counts what
// it is asked for.
type upstream struct {
	addr     string
	image    image
	distance distance

	mu     sync.Mutex
	checks int
	blobs  map[string]traffic
}

// traffic is what was fetched of one blob.
type traffic struct {
	requests int
	bytes    int64
	// first is when the first byte of a body was about to be sent.
	first time.Time
}

func newUpstream(b *testing.B, d distance, img image) *upstream {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	u := &upstream{addr: l.Addr().String(), image: img, distance: d, blobs: map[string]traffic{}}
	server := &http.Server{Handler: u}
	go func() { _ = server.Serve(farListener{Listener: l, distance: d, link: &pacer{rate: d.link}}) }()
	b.Cleanup(func() { _ = server.Close() })
	return u
}

func (u *upstream) url() string { return "http://" + u.addr }

// direct is a client's way past all caches.
func (u *upstream) direct() *server {
	return &server{name: direct, addr: u.addr, stop: func() {}}
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(u.distance.latency)
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	switch {
	case path == "":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	case strings.HasPrefix(path, repository+"/manifests/"):
		u.sendManifest(w, r, strings.TrimPrefix(path, repository+"/manifests/"))
	case strings.HasPrefix(path, repository+"/blobs/"):
		u.sendBlob(w, r, strings.TrimPrefix(path, repository+"/blobs/"))
	default:
		http.NotFound(w, r)
	}
}

func (u *upstream) sendManifest(w http.ResponseWriter, r *http.Request, reference string) {
	manifest := u.image.manifest
	if reference != tag && reference != manifest.digest {
		http.NotFound(w, r)
		return
	}
	u.mu.Lock()
	u.checks++
	u.mu.Unlock()
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Docker-Content-Digest", manifest.digest)
	serve(w, r, manifest)
}

func (u *upstream) sendBlob(w http.ResponseWriter, r *http.Request, digest string) {
	for _, c := range append([]content{u.image.config}, u.image.layers...) {
		if c.digest != digest {
			continue
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", digest)
		if r.Method == http.MethodGet {
			u.count(digest, traffic{requests: 1})
		}
		serve(&meter{ResponseWriter: w, upstream: u, digest: digest}, r, c)
		return
	}
	http.NotFound(w, r)
}

func serve(w http.ResponseWriter, r *http.Request, c content) {
	body, err := c.open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = body.Close() }()
	http.ServeContent(w, r, "", time.Time{}, body)
}

func (u *upstream) count(digest string, more traffic) {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.blobs[digest]
	t.requests += more.requests
	t.bytes += more.bytes
	if t.first.IsZero() {
		t.first = more.first
	}
	u.blobs[digest] = t
}

// fetched is what was fetched of a blob so far.
func (u *upstream) fetched(digest string) traffic {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.blobs[digest]
}

// forget starts the count of a blob anew, and returns what it was.
func (u *upstream) forget(digest string) traffic {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.blobs[digest]
	delete(u.blobs, digest)
	return old
}

// downloads is how often any blob was asked for so far.
func (u *upstream) downloads() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, t := range u.blobs {
		n += t.requests
	}
	return n
}

// checked is how often a manifest was asked for so far.
func (u *upstream) checked() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.checks
}

// meter counts the bytes of a body, and leaves sendfile in place.
type meter struct {
	http.ResponseWriter
	upstream *upstream
	digest   string
}

func (m *meter) Write(p []byte) (int, error) {
	m.upstream.count(m.digest, traffic{first: time.Now()})
	n, err := m.ResponseWriter.Write(p)
	m.upstream.count(m.digest, traffic{bytes: int64(n)})
	return n, err
}

func (m *meter) ReadFrom(src io.Reader) (int64, error) {
	m.upstream.count(m.digest, traffic{first: time.Now()})
	n, err := m.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	m.upstream.count(m.digest, traffic{bytes: n})
	return n, err
}
