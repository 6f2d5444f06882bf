// Package imagestest makes stores of any size for tests and benchmarks, far
// faster than pulls would. It writes the files of distribution's layout on its
// own, so that what reads them is not tested with what it wrote itself.
package imagestest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// Spec says what a store is to hold. Every image has a manifest, a config and
// layers; ten images in a row are in one repository, each with a tag.
type Spec struct {
	// Images is how many manifests of images there are.
	Images int
	// Layers is how many layers each of them has to itself.
	Layers int
	// Shared is how many more layers it has in common with the other images
	// of its repository.
	Shared int
	// Platforms, when given, makes an index of as many images in a row: it has
	// the tag, and they have none.
	Platforms int
	// LayerSize is in bytes; none is written of it but the last one.
	LayerSize int64
	// Upstream is the first part of the names; default quay.io.
	Upstream string
}

// perRepository is how many images are in a repository, unless an index needs
// more.
const perRepository = 10

// OfBlobs is a store of so many blobs, ten to an image, which share none.
func OfBlobs(n int) Spec { return Spec{Images: n / 10, Layers: 8} }

// Blobs is how many blobs the store has, manifests and indexes included.
func (s Spec) Blobs() int {
	s = s.complete()
	n := s.Images*(2+s.Layers) + s.repositories()*s.Shared
	if s.Platforms > 0 {
		n += s.indexes()
	}
	return n
}

// Repository is the name of the repository of the image n.
func (s Spec) Repository(n int) string {
	s = s.complete()
	r := n / s.perRepository()
	return fmt.Sprintf("%s/org%d/app%d", s.Upstream, r/100, r)
}

// Used is when the image n was last used: n seconds before an hour ago. All
// files of the store were made an hour ago.
func (s Spec) Used(now time.Time, n int) time.Time {
	return now.Add(-time.Hour - time.Duration(n)*time.Second)
}

func (s Spec) complete() Spec {
	if s.Upstream == "" {
		s.Upstream = "quay.io"
	}
	s.LayerSize = max(s.LayerSize, 1)
	return s
}

// perRepository is a multiple of the platforms.
func (s Spec) perRepository() int {
	if s.Platforms > 0 {
		return (perRepository + s.Platforms - 1) / s.Platforms * s.Platforms
	}
	return perRepository
}

func (s Spec) repositories() int { return divideUp(s.Images, s.perRepository()) }
func (s Spec) indexes() int      { return divideUp(s.Images, s.Platforms) }

func divideUp(a, b int) int { return (a + b - 1) / b }

// Make makes the store in dir. A million blobs take about two minutes.
func Make(tb testing.TB, dir string, spec Spec) *images.Store {
	tb.Helper()
	store, err := images.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	m := maker{
		Spec: spec.complete(), store: store, now: time.Now(),
		repositories: filepath.Join(dir, "docker/registry/v2/repositories"),
	}
	for hh := range 256 {
		m.check(os.MkdirAll(filepath.Dir(filepath.Dir(store.BlobPath(m.prefix(hh)))), 0o755))
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(4, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for r := int(next.Add(1)) - 1; r < m.Spec.repositories(); r = int(next.Add(1)) - 1 {
				m.repository(r)
			}
		})
	}
	wg.Wait()
	if err := m.failure.Load(); err != nil {
		tb.Fatal(*err)
	}
	return store
}

type maker struct {
	Spec
	store        *images.Store
	now          time.Time
	repositories string
	failure      atomic.Pointer[error]
}

func (m *maker) check(err error) {
	if err != nil {
		m.failure.CompareAndSwap(nil, &err)
	}
}

// prefix is any digest that begins with the byte hh.
func (*maker) prefix(hh int) digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, fmt.Sprintf("%02x%062d", hh, 0))
}

// blob writes a blob of so many bytes, of which content are the last.
func (m *maker) blob(d digest.Digest, content []byte, size int64, used time.Time) {
	path := m.store.BlobPath(d)
	m.check(os.Mkdir(filepath.Dir(path), 0o755))
	m.file(path, content, size, used)
}

func (m *maker) file(path string, content []byte, size int64, used time.Time) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o664)
	if err != nil {
		m.check(err)
		return
	}
	_, err = f.WriteAt(content, size-int64(len(content)))
	m.check(err)
	m.check(f.Close())
	m.check(os.Chtimes(path, used, m.made()))
}

func (m *maker) made() time.Time { return m.now.Add(-time.Hour) }

// link writes <dir>/sha256/<hex>/link; the directory dir/sha256 exists.
func (m *maker) link(dir string, d digest.Digest) {
	dir = filepath.Join(dir, "sha256", d.Encoded())
	m.check(os.Mkdir(dir, 0o755))
	m.file(filepath.Join(dir, "link"), []byte(d), int64(len(d)), m.made())
}
