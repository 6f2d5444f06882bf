package router

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/logger/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; reaching it is a failure.
const patience = 20 * time.Second

// cache is a running router with scripted workers.
type cache struct {
	t        *testing.T
	dir      string
	settings config.Router
	tune     tuning
	listener net.Listener
	updates  chan config.Router
	metrics  *prometheus.Registry
	log      *logtest.Buffer
	client   *http.Client
	store    *images.Store
	// handler is that of the running router.
	handler *handler
	// stop ends the router as SIGTERM does and returns what Run returned.
	stop func() error
}

// newCache prepares a router for docker.io and quay.io.
func newCache(t *testing.T) *cache {
	t.Helper()
	// t.TempDir can be too long for a unix socket.
	dir, err := os.MkdirTemp("", "router")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	store, err := images.Open(filepath.Join(dir, "store"))
	require.NoError(t, err)
	tune := productionTuning
	tune.retryWaits = []time.Duration{time.Millisecond, time.Millisecond}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c := &cache{
		t: t, dir: dir, listener: listener, store: store, tune: tune,
		updates: make(chan config.Router), metrics: prometheus.NewRegistry(), log: &logtest.Buffer{},
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			t.Error("the router never redirects")
			return http.ErrUseLastResponse
		}},
	}
	c.settings = config.Router{
		StoreDir: filepath.Join(dir, "store"), AccessLog: filepath.Join(dir, "log", "access.log"),
		DefaultRoute: "docker.io",
		Routes:       []config.Route{c.route("docker.io"), c.route("quay.io", "q")},
	}
	return c
}

func (c *cache) route(path string, aliases ...string) config.Route {
	return config.Route{
		Path: path, Name: path, Aliases: aliases, Library: path == config.DockerHub,
		Socket: filepath.Join(c.dir, path+".sock"),
	}
}

// start runs the router until the test ends or stop is called.
func (c *cache) start() *cache {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	var err error
	c.handler, err = newHandler(c.settings, testLogger(c), c.metrics, c.tune)
	require.NoError(c.t, err)
	go func() {
		err := c.handler.run(ctx, c.updates, c.listener, func() { close(ready) })
		c.handler.close()
		done <- err
	}()
	c.stop = sync.OnceValue(func() error {
		cancel()
		c.client.CloseIdleConnections()
		return <-done
	})
	c.t.Cleanup(func() { _ = c.stop() })
	select {
	case <-ready:
	case err := <-done:
		c.t.Fatalf("the router ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("the router does not get ready")
	}
	return c
}

// worker serves the socket of a route; it and its connections end with stop.
func (c *cache) worker(path string, handle http.HandlerFunc) (stop func()) {
	c.t.Helper()
	listener, err := net.Listen("unix", filepath.Join(c.dir, path+".sock"))
	require.NoError(c.t, err)
	server := &http.Server{Handler: handle, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	stop = sync.OnceFunc(func() { _ = server.Close(); <-done })
	c.t.Cleanup(stop)
	return stop
}

// update gives the router new settings and waits until it has them.
func (c *cache) update(change func(*config.Router)) {
	c.t.Helper()
	before := strings.Count(c.log.String(), "settings")
	change(&c.settings)
	c.updates <- c.settings
	c.eventually(func() bool { return strings.Count(c.log.String(), "settings") > before })
}

func testLogger(c *cache) zerolog.Logger { return zerolog.New(c.log).Level(zerolog.InfoLevel) }

func (c *cache) eventually(reached func() bool) {
	c.t.Helper()
	require.Eventually(c.t, reached, patience, time.Millisecond)
}

func (c *cache) address() string { return c.listener.Addr().String() }

func (c *cache) request(method, path string, header http.Header) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.address()+path, nil)
	require.NoError(c.t, err)
	if header != nil {
		r.Header = header
	}
	return r
}

// do returns an answer with its whole body.
func (c *cache) do(r *http.Request) (*http.Response, string) {
	c.t.Helper()
	response, err := c.client.Do(r)
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response, string(body)
}

func (c *cache) get(path string) (*http.Response, string) {
	c.t.Helper()
	return c.do(c.request(http.MethodGet, path, nil))
}

// raw sends bytes as they are and reads one answer.
func (c *cache) raw(text string) (*http.Response, string) {
	c.t.Helper()
	conn := c.dial()
	_, err := io.WriteString(conn, text)
	require.NoError(c.t, err)
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response, string(body)
}

func (c *cache) dial() net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.address())
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(c.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// blob puts content into the store.
func (c *cache) blob(content string) digest.Digest {
	c.t.Helper()
	d := digest.FromString(content)
	require.NoError(c.t, os.MkdirAll(c.store.FillDir(d), 0o755))
	f, err := os.Create(filepath.Join(c.store.FillDir(d), "data"))
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, f.Close()) }()
	_, err = f.WriteString(content)
	require.NoError(c.t, err)
	require.NoError(c.t, c.store.Commit(f, d))
	return d
}

// records waits for n lines of the access log.
func (c *cache) records(n int) []accesslog.Record {
	c.t.Helper()
	var records []accesslog.Record
	c.eventually(func() bool {
		content, _ := os.ReadFile(c.settings.AccessLog)
		records = nil
		for line := range bytes.Lines(content) {
			record, err := accesslog.Parse(line)
			require.NoError(c.t, err)
			records = append(records, record)
		}
		return len(records) >= n
	})
	require.Len(c.t, records, n)
	return records
}

func requireError(t *testing.T, body string, code errcode.ErrorCode, says string) {
	t.Helper()
	var document struct {
		Errors []struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &document), body)
	require.Len(t, document.Errors, 1)
	require.Equal(t, code.Descriptor().Value, document.Errors[0].Code, document.Errors[0].Message)
	require.Contains(t, document.Errors[0].Message, says)
}

// text is a worker that answers every request with the same body.
func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// counter counts the requests a worker got.
func counter(n *atomic.Int64, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next(w, r)
	}
}
