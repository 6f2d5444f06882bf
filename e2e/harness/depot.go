package harness

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Depot is a registry that has blobs and nothing else, each in every
// repository. They are files, so that they may be large.
type Depot struct {
	*Front

	dir   string
	mu    sync.Mutex
	blobs map[string]string // path of the file by digest
}

// NewDepot starts an empty depot.
func NewDepot(t testing.TB) *Depot {
	t.Helper()
	d := &Depot{dir: TempDir(t), blobs: map[string]string{}}
	d.Front = NewFront(t, "127.0.0.1:0", http.HandlerFunc(d.serve), nil)
	return d
}

// Settings is what CONFIG_FILE says of this upstream.
func (d *Depot) Settings() Settings { return Settings{"url": d.URL()} }

// Cache is an appliance that caches the depot as quay.io, with more settings.
func (d *Depot) Cache(t testing.TB, settings Settings) *Appliance {
	t.Helper()
	all := d.Settings()
	for key, value := range settings {
		all = all.With(key, value)
	}
	return Start(t, Options{Upstreams: map[string]Settings{"quay.io": all}})
}

// Random adds a blob of random bytes and returns its digest and content.
func (d *Depot) Random(t testing.TB, size int) (string, []byte) {
	t.Helper()
	content := make([]byte, size)
	_, _ = rand.Read(content)
	name := d.file(t)
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return d.add(t, name), content
}

// Sparse adds a blob of zeros, which takes no space here.
func (d *Depot) Sparse(t testing.TB, size int64) string {
	t.Helper()
	name := d.file(t)
	require.NoError(t, os.Truncate(name, size))
	return d.add(t, name)
}

// file makes an empty file, another one for each of those who ask at once.
func (d *Depot) file(t testing.TB) string {
	t.Helper()
	f, err := os.CreateTemp(d.dir, "blob-")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return f.Name()
}

func (d *Depot) add(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	digest := fmt.Sprintf("sha256:%x", h.Sum(nil))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blobs[digest] = name
	return digest
}

func (d *Depot) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	name := d.blobs[path.Base(r.URL.Path)]
	d.mu.Unlock()
	f, err := os.Open(name)
	if err != nil {
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}
