package upstream

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u
}

// proxy is a forward proxy that resolves every name to one server, so that
// only what went through it can arrive there.
type proxy struct {
	to   string // host:port
	mu   sync.Mutex
	seen []string
}

func (p *proxy) saw(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, fmt.Sprintf(format, args...))
}

// splice joins two connections until both are done.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	wg.Wait()
}

// newHTTPProxy speaks absolute requests and CONNECT, and wants a password.
func newHTTPProxy(t *testing.T, to string) (*proxy, string) {
	p := &proxy{to: to}
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != basic("me", "hunter2") {
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		p.saw("%s %s", r.Method, r.URL.Host)
		if r.Method != http.MethodConnect {
			out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to+r.URL.Path, nil)
			if err != nil {
				panic(err)
			}
			transport := &http.Transport{DisableKeepAlives: true}
			resp, err := transport.RoundTrip(out)
			if err != nil {
				panic(err)
			}
			defer resp.Body.Close()
			for name, values := range resp.Header {
				w.Header()[name] = values
			}
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		target, err := net.Dial("tcp", to)
		if err != nil {
			panic(err)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		splice(conn, target)
	})
	return p, s.Listener.Addr().String()
}

// newSOCKS5Proxy speaks RFC 1928 with the password of RFC 1929.
func newSOCKS5Proxy(t *testing.T, to string) (*proxy, string) {
	p := &proxy{to: to}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if err := p.socks5(conn); err != nil {
					p.saw("%v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return p, l.Addr().String()
}

func (p *proxy) socks5(conn net.Conn) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil || head[0] != 5 {
		return fmt.Errorf("greeting %v: %w", head, err)
	}
	if _, err := io.ReadFull(conn, make([]byte, head[1])); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{5, 2}); err != nil { // user and password
		return err
	}
	field := func() (string, error) {
		n := make([]byte, 1)
		if _, err := io.ReadFull(conn, n); err != nil {
			return "", err
		}
		b := make([]byte, n[0])
		_, err := io.ReadFull(conn, b)
		return string(b), err
	}
	if _, err := io.ReadFull(conn, head[:1]); err != nil {
		return err
	}
	user, err := field()
	if err != nil {
		return err
	}
	password, err := field()
	if err != nil {
		return err
	}
	if user != "me" || password != "hunter2" {
		_, err := conn.Write([]byte{1, 1})
		return err
	}
	if _, err := conn.Write([]byte{1, 0}); err != nil {
		return err
	}
	request := make([]byte, 4)
	if _, err := io.ReadFull(conn, request); err != nil || request[3] != 3 {
		return fmt.Errorf("want a name to be resolved here, got %v: %w", request, err)
	}
	host, err := field()
	if err != nil {
		return err
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(conn, port); err != nil {
		return err
	}
	p.saw("%s:%d", host, binary.BigEndian.Uint16(port))
	target, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.to)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	splice(conn, target)
	return nil
}

func TestProxies(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) { manifest(w, r, nil) }
	plain, secure := newServer(t, answer), newTLSServer(t, answer)
	for name, test := range map[string]struct {
		start  func(*testing.T, string) (*proxy, string)
		server *server
		scheme string
		url    string
		want   string
	}{
		"http through http":    {newHTTPProxy, plain, "http", "http://registry.test", "HEAD registry.test"},
		"https through http":   {newHTTPProxy, secure, "http", "https://example.com", "CONNECT example.com:443"},
		"no scheme":            {newHTTPProxy, secure, "", "https://example.com:8443", "CONNECT example.com:8443"},
		"http through socks5":  {newSOCKS5Proxy, plain, "socks5", "http://registry.test", "registry.test:80"},
		"https through socks5": {newSOCKS5Proxy, secure, "socks5", "https://example.com", "example.com:443"},
		"http through socks5h": {newSOCKS5Proxy, plain, "socks5h", "http://registry.test:5000", "registry.test:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			p, addr := test.start(t, test.server.Listener.Addr().String())
			use := func(user string) func(*setup) {
				value := user + "@" + addr
				if test.scheme != "" {
					value = test.scheme + "://" + value
				}
				return func(s *setup) {
					if s.options.Proxy.HTTPS = config.Secret(value); test.server == plain {
						s.options.Proxy = config.Proxy{HTTP: config.Secret(value)}
					}
				}
			}
			trust := func(*setup) {}
			if test.server == secure {
				trust = trusting(secure)
			}
			c := newClient(t, test.url, use("me:hunter2"), trust)
			require.NoError(t, resolve(t, c, "org/app"))
			assert.Equal(t, []string{test.want}, p.seen)
			c.Close()

			c = newClient(t, test.url, use("me:mistake"), trust)
			err := resolve(t, c, "org/app")
			requireKind(t, Unavailable, err)
			assert.ErrorContains(t, err, "proxy settings")
			assert.NotContains(t, err.Error(), "mistake")
			c.Close()

			c = newClient(t, test.url, use("me:hunter2"), trust, func(s *setup) {
				s.options.Proxy.NoProxy = "example.com,.test"
				s.options.Timeouts = Timeouts{}
			})
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // nothing may leave this machine; the proxy is not asked either way
			_, err = c.ResolveManifest(ctx, "org/app", "latest")
			require.Error(t, err)
			u, err := c.api.transport.Proxy(&http.Request{URL: parse(t, test.url)})
			require.NoError(t, err)
			assert.Nil(t, u)
		})
	}
}

// TestEnvironmentIsIgnored: the proxies come from the configuration alone.
func TestEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://elsewhere.test:1")
	c := newClient(t, "https://registry.test")
	u, err := c.api.transport.Proxy(&http.Request{URL: parse(t, "https://registry.test")})
	require.NoError(t, err)
	assert.Nil(t, u)
}
