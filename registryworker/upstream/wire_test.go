package upstream

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// TestRedirectToStorage is what most large registries do with blobs.
func TestRedirectToStorage(t *testing.T) {
	storage := newServer(t, serveBlob)
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != basic("me", "hunter2") {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, strings.Replace(storage.URL, "http://", "http://user:pw@", 1)+"/x?sig=a%2Fb#frag", http.StatusTemporaryRedirect)
	})
	c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "hunter2"}))
	b, err := c.OpenBlob(t.Context(), "org/app", blobDigest, 10, 20)
	require.NoError(t, err)
	defer b.Body.Close()
	got, err := io.ReadAll(b.Body)
	require.NoError(t, err)
	assert.Equal(t, "0123456789", string(got))
	require.Len(t, storage.requests(), 1)
	r := storage.requests()[0]
	assert.Empty(t, r.Header.Values("Authorization"), "same host, but another port")
	assert.Empty(t, r.Header.Values("Referer"))
	assert.Equal(t, "bytes=10-19", r.Header.Get("Range"))
	assert.Equal(t, "sig=a%2Fb", r.URL.RawQuery)
}

func TestRedirectBackHome(t *testing.T) {
	var s *server
	away := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+"/v2/org/app/manifests/home", http.StatusFound)
	})
	s = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/home"):
			manifest(w, r, nil)
		default:
			http.Redirect(w, r, away.URL, http.StatusMovedPermanently)
		}
	})
	c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "x"}))
	require.NoError(t, resolve(t, c, "org/app"))
	require.Len(t, away.requests(), 1)
	assert.Empty(t, away.requests()[0].Header.Values("Authorization"))
	assert.Equal(t, "HEAD", away.requests()[0].Method)
}

func TestRedirectsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		location string
		text     string
	}{
		"no Location":  {"", "a redirect without Location"},
		"malformed":    {"http://x/%zz?sig=hunter2", "malformed Location"},
		"scheme":       {"ftp://x/?sig=hunter2", "not http(s)"},
		"no host":      {"http:///x?sig=hunter2", "not http(s)"},
		"downgrade":    {"http://storage.example/?sig=hunter2", "from https down to http, at storage.example"},
		"for ever":     {"/again?sig=hunter2", "more than 10 redirects"},
		"nobody there": {"https://127.0.0.1:1/?sig=hunter2", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTLSServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", test.location)
				w.WriteHeader(http.StatusTemporaryRedirect)
			})
			_, err := newClient(t, s.URL, trusting(s)).OpenBlob(t.Context(), "org/app", blobDigest, 0, -1)
			require.ErrorContains(t, err, test.text)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.Less(t, len(s.requests()), maxRedirects+2)
		})
	}
}

// TestStorageRefuses holds that a host that was only redirected to is not
// taken for the registry's own word.
func TestStorageRefuses(t *testing.T) {
	for status, kind := range map[int]Kind{
		http.StatusForbidden: Unavailable, http.StatusUnauthorized: Unavailable, http.StatusNotFound: NotFound, http.StatusTooManyRequests: RateLimited,
	} {
		storage := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, storage.URL+"?sig=hunter2", http.StatusTemporaryRedirect)
		})
		_, err := newClient(t, s.URL).OpenBlob(t.Context(), "org/app", blobDigest, 0, -1)
		e := requireKind(t, kind, err)
		assert.Equal(t, status, e.Status)
		assert.ErrorContains(t, err, "this was the answer of 127.0.0.1:")
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

// TestRedirectToAnotherRegistry: one that wants a token of its own gets one,
// without credentials.
func TestRedirectToAnotherRegistry(t *testing.T) {
	other := newBearer(t)
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "x"}))
	require.NoError(t, resolve(t, c, "org/app"))
	require.Len(t, other.tokens.requests(), 1)
	assert.Empty(t, other.tokens.requests()[0].Header.Values("Authorization"))
	for _, r := range s.requests() {
		assert.Empty(t, r.Header.Values("Authorization"), "the other's token is for the other")
	}
}

// trusting makes the client trust the server's certificate.
func trusting(s *server) func(*setup) {
	return func(set *setup) {
		set.upstream.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	}
}

func TestTLS(t *testing.T) {
	s := newTLSServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			serveBlob(w, r)
			return
		}
		manifest(w, r, nil)
	})
	for name, change := range map[string]func(*setup){
		"ca":       trusting(s),
		"insecure": func(set *setup) { set.upstream.InsecureSkipVerify = true },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s.URL, change)
			require.NoError(t, resolve(t, c, "org/app"))
			b, err := c.OpenBlob(t.Context(), "org/app", blobDigest, 0, -1)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, b.Body)
			require.NoError(t, err)
			require.NoError(t, b.Body.Close())
			var protocols []string
			for _, r := range s.requests()[len(s.requests())-2:] {
				protocols = append(protocols, r.Proto)
			}
			assert.Equal(t, []string{"HTTP/2.0", "HTTP/1.1"}, protocols)
		})
	}
	t.Run("ca comes on top of the system's", func(t *testing.T) {
		system, err := x509.SystemCertPool()
		require.NoError(t, err)
		c := newClient(t, s.URL, trusting(s))
		assert.False(t, c.api.transport.TLSClientConfig.RootCAs.Equal(x509.NewCertPool()))
		system.AddCert(s.Certificate())
		assert.True(t, c.api.transport.TLSClientConfig.RootCAs.Equal(system))
	})
}

// silent is a listener that takes connections and never says a word.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// TestEveryPhaseHasALimit tells the phases apart by which limit is short.
func TestEveryPhaseHasALimit(t *testing.T) {
	const short = 20 * time.Millisecond
	for name, test := range map[string]struct {
		url    string
		change func(*setup)
		text   string
	}{
		"header": {"http://" + silent(t), withTimeouts(func(o *Timeouts) { o.Header = short }), "timeout awaiting response headers"},
		"TLS":    {"https://" + silent(t), withTimeouts(func(o *Timeouts) { o.TLS = short }), "TLS handshake timeout"},
		"socks proxy": {"http://registry.test", func(s *setup) {
			s.options.Timeouts = Timeouts{Dial: 10 * short, TLS: short, Header: short, IdleBody: short}
			s.options.Proxy.HTTP = config.Secret("socks5://" + silent(t))
		}, "no answer within 460ms"},
		"https proxy": {"https://registry.test", func(s *setup) {
			s.options.Timeouts = Timeouts{Dial: 10 * short, TLS: short, Header: short, IdleBody: short}
			s.options.Proxy.HTTPS = config.Secret("http://" + silent(t))
		}, "no answer within 460ms"},
	} {
		t.Run(name, func(t *testing.T) {
			err := resolve(t, newClient(t, test.url, test.change), "org/app")
			requireKind(t, Unavailable, err)
			assert.ErrorContains(t, err, test.text)
		})
	}
}

// script is a body whose reads take the given time.
type script struct {
	own    context.Context
	delays []time.Duration
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.delays) == 0 {
		return 0, io.EOF
	}
	select {
	case <-s.own.Done():
		return 0, s.own.Err()
	case <-time.After(s.delays[0]):
	}
	s.delays = s.delays[1:]
	return copy(p, "x"), nil
}

func (s *script) Close() error { return nil }

func TestOnlySilenceIsLimited(t *testing.T) {
	m, err := newMetrics(nil, "registry.test")
	require.NoError(t, err)
	w := &wire{timeouts: Timeouts{IdleBody: 30 * time.Second}, metrics: m}
	open := func(t *testing.T, delays ...time.Duration) *body {
		own, cancel := context.WithCancelCause(t.Context())
		return w.newBody(t.Context(), own, cancel, &script{own: own, delays: delays})
	}
	t.Run("slow but steady", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, 29*time.Second, 29*time.Second, 29*time.Second)
			got, err := io.ReadAll(b)
			require.NoError(t, err)
			assert.Equal(t, "xxx", string(got))
		})
	})
	t.Run("slow reader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, time.Second, time.Second)
			for range 2 {
				_, err := b.Read(make([]byte, 1))
				require.NoError(t, err)
				time.Sleep(time.Hour)
			}
		})
	})
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, time.Second, 31*time.Second)
			got, err := io.ReadAll(b)
			require.EqualError(t, err, "the transfer stalled: no byte for 30s")
			assert.Equal(t, "x", string(got))
		})
	})
}

func TestOrigin(t *testing.T) {
	for a, b := range map[string]string{
		"https://Quay.io":      "https://quay.io:443/x",
		"http://quay.io":       "http://quay.io:80",
		"http://[::1]:5000/v2": "http://[::1]:5000",
	} {
		assert.Equal(t, origin(parse(t, a)), origin(parse(t, b)))
	}
	for a, b := range map[string]string{
		"https://quay.io":  "http://quay.io",
		"https://quay.io/": "https://quay.io:444/",
		"https://quay.io?": "https://cdn.quay.io",
	} {
		assert.NotEqual(t, origin(parse(t, a)), origin(parse(t, b)))
	}
}

// TestUnaskedBytes: what an upstream sends that speaks no HTTP stays printable.
func TestUnaskedBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write(bytes.Repeat([]byte("\x1b[31mSSH-2.0\r\n"), 3))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	err = resolve(t, newClient(t, fmt.Sprint("http://", l.Addr())), "org/app")
	requireKind(t, Unavailable, err)
	assert.NotContains(t, err.Error(), "\x1b")
	require.NoError(t, l.Close())
	<-done
}
