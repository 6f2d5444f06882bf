package router

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/router/statuspage/pagetest"
	"registrycache/status"
)

// supervised gives the cache a supervisor to ask for the state of it all.
func (c *cache) supervised() *pagetest.Supervisor {
	c.t.Helper()
	c.settings.StatusSocket = filepath.Join(c.dir, "status.sock")
	return pagetest.Serve(c.t, c.settings.StatusSocket, pagetest.Example(time.Now().UTC()))
}

var asBrowser = http.Header{"Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}}

var pagePaths = []string{"/", "/status.json", "/status/page.css", "/status/page.js", "/status/icon.svg", "/status/events"}

func TestStatusPage(t *testing.T) {
	c := newCache(t)
	supervisor := c.supervised()
	c.start()
	response, body := c.do(c.request(http.MethodGet, "/", asBrowser))
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	assert.Equal(t, "Accept", response.Header.Get("Vary"))
	assert.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	assert.Contains(t, body, "<small>"+c.address()+"</small>")
	assert.Contains(t, body, "podman pull --tls-verify=false "+c.address()+"/quay.io/")

	response, body = c.do(c.request(http.MethodHead, "/", asBrowser))
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Empty(t, body)

	asked := supervisor.Asked()
	response, body = c.get("/")
	assert.Equal(t, greeting, body, "for programs")
	assert.Equal(t, "Accept", response.Header.Get("Vary"))
	assert.Equal(t, asked, supervisor.Asked())
	response, body = c.get("/status.json")
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	assert.Contains(t, body, `"version":"v1.4.0"`)

	for _, r := range c.records(4) {
		assert.Equal(t, accesslog.Local, r.Cache)
		assert.Empty(t, r.Kind)
		assert.Empty(t, r.Upstream)
	}
}

func TestStatusPageWithoutSupervisor(t *testing.T) {
	c := newCache(t)
	c.settings.StatusSocket = filepath.Join(c.dir, "nobody.sock")
	c.start()
	response, body := c.do(c.request(http.MethodGet, "/", asBrowser))
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Contains(t, body, "The supervisor of the cache does not answer.")
	assert.NotContains(t, body, c.dir)
}

func TestStatusPageIsBehindThePassword(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "right")
	c.supervised()
	c.start()
	for _, path := range pagePaths {
		for _, password := range []string{"", "wrong"} {
			r := c.request(http.MethodGet, path, asBrowser.Clone())
			if password != "" {
				r.SetBasicAuth("ann", password)
			}
			response, body := c.do(r)
			assert.Equal(t, http.StatusUnauthorized, response.StatusCode, path)
			assert.Equal(t, `Basic realm="the cache"`, response.Header.Get("Www-Authenticate"), path)
			assert.Equal(t, needsPassword, body, path)
		}
		if path != "/status/events" {
			r := c.request(http.MethodGet, path, asBrowser.Clone())
			r.SetBasicAuth("ann", "right")
			response, _ := c.do(r)
			assert.Equal(t, http.StatusOK, response.StatusCode, path)
		}
	}
	response, body := c.get("/")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, greeting, body)
	var users []string
	for _, r := range c.records(3*len(pagePaths) - 1 + 1) {
		users = append(users, r.User)
	}
	assert.Equal(t, len(pagePaths)-1, strings.Count(strings.Join(users, " "), "ann"))
}

// A browser has no tokens; who has one that allows to list everything is shown
// everything.
func TestStatusPageAndTokens(t *testing.T) {
	c := newCache(t)
	server := newTokenServer(t, c.dir)
	c.settings.Auth = server.settings()
	c.supervised()
	c.start()
	response, body := c.do(c.request(http.MethodGet, "/", asBrowser))
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Contains(t, response.Header.Get("Www-Authenticate"), `scope="registry:catalog:*"`)
	assert.Equal(t, needsToken, body)
	one := server.sign(&token.ResourceActions{Type: "repository", Name: "quay.io/a", Actions: []string{"pull"}})
	assert.Equal(t, http.StatusUnauthorized, c.bearing(one, "/status.json").StatusCode)
	all := server.sign(&token.ResourceActions{Type: "registry", Name: "catalog", Actions: []string{"*"}})
	assert.Equal(t, http.StatusOK, c.bearing(all, "/status.json").StatusCode)
}

// watch opens a stream of the page's and waits for its first message.
func (c *cache) watch(ctx context.Context) *bufio.Reader {
	c.t.Helper()
	return c.watchAs(ctx, c.client, "http")
}

func (c *cache) watchAs(ctx context.Context, client *http.Client, scheme string) *bufio.Reader {
	c.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+c.address()+"/status/events", nil)
	require.NoError(c.t, err)
	response, err := client.Do(r)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(c.t, "text/event-stream", response.Header.Get("Content-Type"))
	body := bufio.NewReader(response.Body)
	first, err := body.ReadString('\n')
	require.NoError(c.t, err)
	require.True(c.t, strings.HasPrefix(first, "data: {"), first)
	return body
}

// Who looks at the page does not keep the cache from ending.
func TestStreamsEndWithTheRouter(t *testing.T) {
	c := newCache(t)
	c.supervised()
	c.start()
	stream := c.watch(t.Context())
	require.NoError(t, c.stop())
	_, err := io.Copy(io.Discard, stream)
	require.NoError(t, err, "the stream has an end")
	record := c.records(1)[0]
	assert.Equal(t, http.StatusOK, record.Status)
	assert.Empty(t, record.Kind)
	assert.Positive(t, record.Bytes)
}

func TestStreamEndsWithItsClient(t *testing.T) {
	c := newCache(t)
	c.supervised()
	c.start()
	ctx, leave := context.WithCancel(t.Context())
	c.watch(ctx)
	leave()
	assert.Equal(t, "/status/events", c.records(1)[0].Path)
}

// What bounds a client that sends nothing does not bound one that listens.
func TestStreamOutlivesTheTimeouts(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			c := newCache(t)
			c.tune.idleTimeout = 10 * time.Millisecond
			supervisor := c.supervised()
			client := c.client
			if scheme == "https" {
				c.settings.TLS = pair(t, "cache")
				client = c.trusting(c.settings.TLS)
			}
			c.start()
			stream := c.watchAs(t.Context(), client, scheme)
			supervisor.Change(func(d *status.Document) { d.State = "unavailable" })
			for line := ""; !strings.Contains(line, "unavailable"); {
				var err error
				line, err = stream.ReadString('\n')
				require.NoError(t, err)
			}
		})
	}
}
