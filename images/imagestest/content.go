package imagestest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platforms of the images in an index, in turn.
var architectures = []string{"amd64", "arm64", "s390x", "ppc64le"}

// repository makes the repository r and all in it.
func (m *maker) repository(r int) {
	first := r * m.perRepository()
	dir := filepath.Join(m.repositories, m.Repository(first))
	for _, sub := range []string{"_layers/sha256", "_manifests/revisions/sha256", "_manifests/tags"} {
		m.check(os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	shared := make([]digest.Digest, m.Shared)
	for i := range shared {
		shared[i] = digest.FromString(fmt.Sprint("shared layer ", r, i))
		m.layer(dir, shared[i], m.Used(m.now, first))
	}
	var index []string
	for n := first; n < min(first+m.perRepository(), m.Images); n++ {
		manifest, size := m.image(dir, n, shared)
		if m.Platforms == 0 {
			m.tag(dir, fmt.Sprint("v", n), manifest)
			continue
		}
		index = append(index, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}`,
			v1.MediaTypeImageManifest, manifest, size, m.architecture(n)))
		if len(index) == m.Platforms || n == m.Images-1 {
			d, _ := m.manifest(dir, m.Used(m.now, n), fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`,
				v1.MediaTypeImageIndex, strings.Join(index, ",")))
			m.tag(dir, fmt.Sprint("v", n/m.Platforms), d)
			index = nil
		}
	}
}

func (m *maker) architecture(n int) string {
	if m.Platforms == 0 {
		return architectures[0]
	}
	return architectures[n%m.Platforms%len(architectures)]
}

func (m *maker) image(dir string, n int, shared []digest.Digest) (digest.Digest, int) {
	used := m.Used(m.now, n)
	config := fmt.Sprintf(`{"os":"linux","architecture":%q,"author":"image %d"}`, m.architecture(n), n)
	configDigest := digest.FromString(config)
	m.blob(configDigest, []byte(config), int64(len(config)), used)
	m.link(filepath.Join(dir, "_layers"), configDigest)
	var doc strings.Builder
	fmt.Fprintf(&doc, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[`,
		v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, configDigest, len(config))
	for i := range len(shared) + m.Layers {
		var d digest.Digest
		if i < len(shared) {
			d = shared[i]
		} else {
			d = digest.FromString(fmt.Sprint("layer ", n, i))
			m.layer(dir, d, used)
		}
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"mediaType":%q,"digest":%q,"size":%d}`, v1.MediaTypeImageLayerGzip, d, m.LayerSize)
	}
	doc.WriteString("]}")
	return m.manifest(dir, used, doc.String())
}

// layer writes what only looks like one: nobody reads it.
func (m *maker) layer(dir string, d digest.Digest, used time.Time) {
	m.blob(d, []byte("x"), m.LayerSize, used)
	m.link(filepath.Join(dir, "_layers"), d)
}

func (m *maker) manifest(dir string, used time.Time, doc string) (digest.Digest, int) {
	d := digest.FromString(doc)
	m.blob(d, []byte(doc), int64(len(doc)), used)
	m.link(filepath.Join(dir, "_manifests/revisions"), d)
	return d, len(doc)
}

func (m *maker) tag(dir, tag string, d digest.Digest) {
	dir = filepath.Join(dir, "_manifests/tags", tag)
	for _, sub := range []string{"current", "index/sha256"} {
		m.check(os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	m.file(filepath.Join(dir, "current/link"), []byte(d), int64(len(d)), m.made())
	m.link(filepath.Join(dir, "index"), d)
}
