package bench

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// The contestants, as the tables call them.
const (
	ours     = "registry-cache"
	nginx    = "nginx"
	ancestor = "haproxy + docker-registry"
	direct   = "direct"
)

// server is a contestant that runs.
type server struct {
	name string
	addr string
	// prefix is what stands before the repository's name in a path.
	prefix string
	// tls is nil for plain HTTP.
	tls *tls.Config
	// login is user:password, or nothing.
	login string
	// probes are what monitoring asks every few seconds, also of an idle server.
	probes []string
	// roots are the processes that were started; all that they started in turn
	// belong to the contestant, too.
	roots []int
	// stop ends it before the end of the row, and removes what it stored.
	stop func()
}

func (s *server) path(kind, reference string) string {
	return "/v2/" + s.prefix + repository + "/" + kind + "/" + reference
}

func (s *server) url(path string) string {
	if s.tls != nil {
		return "https://" + s.addr + path
	}
	return "http://" + s.addr + path
}

// accepted is what podman accepts, in its order.
var accepted = []string{
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.v1+prettyjws",
	"application/vnd.docker.distribution.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.index.v1+json",
}

// request is podman's GET as it goes over the wire.
func (s *server) request(path string) []byte {
	raw := "GET " + path + " HTTP/1.1\r\nHost: " + s.addr + "\r\nUser-Agent: containers/5.36.0 (github.com/containers/image)\r\n"
	for _, mediaType := range accepted {
		raw += "Accept: " + mediaType + "\r\n"
	}
	if s.login != "" {
		raw += "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s.login)) + "\r\n"
	}
	return []byte(raw + "\r\n")
}

func (s *server) dial() (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", s.addr, harness.Patience)
	if err != nil || s.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, s.tls)
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	if suite := secure.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("%s chose %s, so that it can't be compared", s.name, tls.CipherSuiteName(suite))
	}
	return secure, nil
}

// listening waits until a program accepts connections.
func listening(b *testing.B, p *harness.Process, addr string) {
	b.Helper()
	harness.Eventually(b, func() bool {
		require.False(b, p.Ended(), "it ended:\n%s", p.Output())
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, "%s accepts connections", addr)
}

// warm pulls until the upstream has no more to give but tags.
func (s *server) warm(b *testing.B, u *upstream) {
	b.Helper()
	harness.Eventually(b, func() bool {
		before := u.downloads()
		_, err := s.pull(u.image)
		require.NoError(b, err, "pull through %s", s.name)
		return u.downloads() == before
	}, "%s has the image", s.name)
}

// launch starts a contestant that has nothing stored yet.
type launch func() *server

// takeTurns has the contestants, running or to be launched, measured in turn,
// in one order and then in the other, so that what changes on the machine
// meanwhile meets all alike.
func takeTurns[T *server | launch](rounds int, contestants []T, measure func(T)) {
	for round := range rounds {
		order := slices.Clone(contestants)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			measure(c)
		}
	}
}

// rest is how long nothing must happen for a server to count as idle.
const rest = 300 * time.Millisecond
