package upstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/logger/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an httptest server that keeps a record of what it was asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newServer(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(s.recorded(h))
	t.Cleanup(s.Close)
	return s
}

func newTLSServer(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.recorded(h))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) recorded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.Background()))
		s.mu.Unlock()
		h(w, r)
	}
}

func (s *server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// lines are the requests as "METHOD path".
func (s *server) lines() []string {
	var lines []string
	for _, r := range s.requests() {
		lines = append(lines, r.Method+" "+r.URL.Path)
	}
	return lines
}

// setup is what a test client is made of; tests change it with functions.
type setup struct {
	upstream config.Upstream
	options  Options
}

func newClient(t *testing.T, url string, change ...func(*setup)) *Client {
	t.Helper()
	s := setup{
		upstream: config.Upstream{Name: "registry.test", URL: url},
		options: Options{
			Log: zerolog.Nop(), Registerer: prometheus.NewPedanticRegistry(),
			// Generous: only tests of a time limit shorten it.
			Timeouts: Timeouts{Dial: time.Minute, TLS: time.Minute, Header: time.Minute, IdleBody: time.Minute},
		},
	}
	for _, f := range change {
		f(&s)
	}
	c, err := New(s.upstream, s.options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func withCredentials(creds ...config.Credential) func(*setup) {
	return func(s *setup) { s.upstream.Credentials = creds }
}

func withTimeouts(change func(*Timeouts)) func(*setup) {
	return func(s *setup) { change(&s.options.Timeouts) }
}

func withLog(out *logtest.Buffer) func(*setup) {
	return func(s *setup) { s.options.Log = zerolog.New(out) }
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// requireKind fails unless err is an *Error of the kind that names its upstream.
func requireKind(t *testing.T, want Kind, err error) *Error {
	t.Helper()
	require.Error(t, err)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want.String(), e.Kind.String(), "%v", err)
	assert.Equal(t, want, KindOf(fmt.Errorf("wrapped: %w", err)))
	assert.Contains(t, err.Error(), e.Upstream+": ")
	assert.NotContains(t, err.Error(), "\n")
	return e
}

func TestNewReportsWhatCannotWork(t *testing.T) {
	const pem = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
	for name, test := range map[string]struct {
		change func(*setup)
		want   string
	}{
		"no url":             {func(s *setup) { s.upstream.URL = "" }, "url is not an address"},
		"no scheme":          {func(s *setup) { s.upstream.URL = "quay.io" }, "want http(s)://host"},
		"another scheme":     {func(s *setup) { s.upstream.URL = "ftp://quay.io" }, "want http(s)://host"},
		"no host":            {func(s *setup) { s.upstream.URL = "https://:443" }, "want http(s)://host"},
		"password":           {func(s *setup) { s.upstream.URL = "https://me:hunter2@quay.io" }, "belong into the pull secret"},
		"query":              {func(s *setup) { s.upstream.URL = "https://quay.io/?token=hunter2" }, "has a query"},
		"ca":                 {func(s *setup) { s.upstream.CA = []byte(pem) }, "ca holds no certificate"},
		"proxy scheme":       {func(s *setup) { s.options.Proxy.HTTPS = "ftp://me:hunter2@proxy:3128" }, "HTTPS_PROXY is not a proxy's address"},
		"proxy without host": {func(s *setup) { s.options.Proxy.HTTP = "http://" }, "HTTP_PROXY is not"},
		"proxy nonsense":     {func(s *setup) { s.options.Proxy.HTTP = "http://hunter2\x7f" }, "HTTP_PROXY is not"},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup{upstream: config.Upstream{Name: "quay.io", URL: "https://quay.io"}}
			test.change(&s)
			_, err := New(s.upstream, s.options)
			require.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, "upstream quay.io: ")
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestDefaults(t *testing.T) {
	c, err := New(config.Upstream{Name: "quay.io", URL: "https://quay.io/"}, Options{})
	require.NoError(t, err)
	defer c.Close()
	assert.Equal(t, "quay.io", c.Name())
	assert.Equal(t, Timeouts{Dial: 5 * time.Second, TLS: 10 * time.Second, Header: 30 * time.Second, IdleBody: 30 * time.Second}, c.wire.timeouts)
}

func TestPrefixAndHeaders(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	c := newClient(t, s.URL+"/mirror/", func(s *setup) { s.options.UserAgent = "tester/1" })
	_, err := c.Referrers(t.Context(), "org/app", testDigest)
	requireKind(t, NotFound, err)
	require.Equal(t, []string{"GET /mirror/v2/org/app/referrers/" + testDigest.String()}, s.lines())
	h := s.requests()[0].Header
	assert.Equal(t, "tester/1", h.Get("User-Agent"))
	assert.Equal(t, []string{"identity"}, h.Values("Accept-Encoding"))
	assert.Empty(t, h.Values("Authorization"))
}

func TestBadNamesAskNothing(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	c := newClient(t, s.URL)
	long := string(bytes.Repeat([]byte("a"), 300))
	for _, repo := range []string{"", "/", "a//b", "../v2", "a/../b", "UPPER", "a?x=1", "a b", "a%2fb", "a\n", "a/", "/a", long} {
		_, err := c.ResolveManifest(t.Context(), repo, "latest")
		requireKind(t, Invalid, err)
		_, _, err = c.Tags(t.Context(), repo, 1, "")
		requireKind(t, Invalid, err)
	}
	for _, ref := range []string{"", "..", ".x", "a/b", "a?b", "a b", "é", "sha256:abc", "sha256:" + long, "md5:x", ":", long} {
		_, err := c.ResolveManifest(t.Context(), "org/app", ref)
		requireKind(t, Invalid, err)
	}
	_, _, err := c.Manifest(t.Context(), "org/app", "latest")
	requireKind(t, Invalid, err)
	_, err = c.StatBlob(t.Context(), "org/app", "sha256:00")
	requireKind(t, Invalid, err)
	_, err = c.OpenBlob(t.Context(), "org/app", "", 0, -1)
	requireKind(t, Invalid, err)
	assert.Empty(t, s.lines())
}
