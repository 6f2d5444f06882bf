package router

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// sink is a connection that takes everything and gives the same request again
// and again.
type sink struct {
	net.Conn
	request []byte
	left    int
}

func (s *sink) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, net.ErrClosed
	}
	s.left--
	return copy(p, s.request), nil
}

func (*sink) Write(p []byte) (int, error)       { return len(p), nil }
func (*sink) SetReadDeadline(time.Time) error   { return nil }
func (*sink) ReadFrom(io.Reader) (int64, error) { return 0, nil }
func (*sink) CloseWrite() error                 { return nil }

// podman's request for a manifest.
const podmanRequest = "GET /v2/quay.io/podman/hello/manifests/latest HTTP/1.1\r\nHost: cache.local:8443\r\n" +
	"User-Agent: containers/5.36.0 (github.com/containers/image)\r\n" +
	"Accept: application/vnd.oci.image.manifest.v1+json\r\nAccept: application/vnd.docker.distribution.manifest.v2+json\r\n" +
	"Accept: application/vnd.docker.distribution.manifest.v1+prettyjws\r\nAccept: application/vnd.docker.distribution.manifest.v1+json\r\n" +
	"Accept: application/vnd.docker.distribution.manifest.list.v2+json\r\nAccept: application/vnd.oci.image.index.v1+json\r\n" +
	"Docker-Distribution-Api-Version: registry/2.0\r\nAccept-Encoding: gzip\r\n\r\n"

// benchHandler is a router that remembers podman's manifest.
func benchHandler(b *testing.B) *handler {
	b.Helper()
	dir := b.TempDir()
	h, err := newHandler(config.Router{
		StoreDir: filepath.Join(dir, "store"), AccessLog: filepath.Join(dir, "access.log"), DefaultRoute: "docker.io",
		Routes: []config.Route{{Path: "docker.io", Name: "docker.io", Library: true}, {Path: "quay.io", Name: "quay.io"}},
	}, zerolog.Nop(), prometheus.NewRegistry(), productionTuning)
	require.NoError(b, err)
	b.Cleanup(h.close)
	u := h.state.Load().upstreams["quay.io"]
	e := newHit(u, 0, &http.Response{StatusCode: http.StatusOK, Header: http.Header{
		"Cache-Control": {"max-age=31536000"}, "Content-Type": {manifestType}, digestHeader: {someDigest}, "Etag": {`"` + someDigest + `"`},
	}})
	e.until = time.Now().Add(time.Hour)
	e.setBody([]byte(strings.Repeat("x", 1600)))
	h.hits.keep("/v2/quay.io/podman/hello/manifests/latest", e)
	return h
}

func BenchmarkShortcut(b *testing.B) {
	h := benchHandler(b)
	s := &sink{request: []byte(podmanRequest)}
	c := &shortcut{stream: s, h: h, peer: "10.0.0.1:12345"}
	buffer := make([]byte, 4096)
	b.ReportAllocs()
	s.left = b.N
	b.ResetTimer()
	_, err := c.Read(buffer)
	require.ErrorIs(b, err, net.ErrClosed)
}

func BenchmarkParseHead(b *testing.B) {
	request := []byte(podmanRequest)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parseHead(request); !ok {
			b.Fatal("not parsed")
		}
	}
}

func BenchmarkLookUp(b *testing.B) {
	h := benchHandler(b)
	hd, ok := parseHead([]byte(podmanRequest))
	require.True(b, ok)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		record := recordOf(hd, now, "10.0.0.1:12345")
		if h.lookUp(hd, now, &record) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkFinish(b *testing.B) {
	h := benchHandler(b)
	hd, ok := parseHead([]byte(podmanRequest))
	require.True(b, ok)
	record := recordOf(hd, time.Now(), "10.0.0.1:12345")
	h.lookUp(hd, record.Time, &record)
	record.Status, record.Cache = 200, "hit"
	b.ReportAllocs()
	for b.Loop() {
		h.finish(&record)
	}
}
