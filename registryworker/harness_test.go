package registryworker

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/logger/logtest"
	"registrycache/registryworker/workertest"
	"registrycache/status"
)

func TestMain(m *testing.M) {
	// Distribution's app starts it for notifications and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

// worker is one that runs, with a client that does what the router does: it
// sends the files that the worker hands off.
type worker struct {
	t      *testing.T
	dir    string
	store  *images.Store
	client *http.Client
	log    *logtest.Buffer
	reg    *prometheus.Registry
	part   func() status.Part // what it tells of itself
	stop   func()
}

func startWorker(t *testing.T, dir, upstreamURL string, change ...func(*config.Worker)) *worker {
	t.Helper()
	s := config.Worker{
		Upstream: config.Upstream{Name: "quay.io", Path: "quay.io", URL: upstreamURL, StaleIfError: config.Always},
		StoreDir: dir, Drain: time.Minute,
	}
	for _, c := range change {
		c(&s)
	}
	w := &worker{t: t, dir: dir, log: &logtest.Buffer{}, reg: prometheus.NewRegistry()}
	var err error
	w.store, err = images.Open(dir)
	require.NoError(t, err)
	level := zerolog.InfoLevel
	if s.LogLevel == "debug" {
		level = zerolog.DebugLevel
	}
	w.client, w.stop = workertest.Start(t, w.store, func(ctx context.Context, ln net.Listener, ready func()) error {
		return Run(ctx, s, ln, zerolog.New(w.log).Level(level), w.reg, func(func() string) { ready() }, func(part func() status.Part) { w.part = part })
	})
	return w
}

type answer struct {
	*http.Response
	body string
}

func (a answer) cache() accesslog.CacheStatus {
	return accesslog.ParseHeader(a.Header.Get(accesslog.HeaderName))
}

func (w *worker) do(method, path string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://worker"+path, nil)
	require.NoError(w.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp, string(body)}
}

func (w *worker) get(path string, header ...string) answer {
	w.t.Helper()
	return w.do(http.MethodGet, path, header...)
}

// fakeRegistry is go-containerregistry's, which keeps what is pushed to it.
func fakeRegistry(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	return server
}

func push(t *testing.T, server *httptest.Server, ref string, write func(name.Reference) error) {
	t.Helper()
	r, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + ref)
	require.NoError(t, err)
	require.NoError(t, write(r))
}

func pushImage(t *testing.T, server *httptest.Server, ref string) digest.Digest {
	t.Helper()
	img, err := random.Image(64<<10, 3)
	require.NoError(t, err)
	push(t, server, ref, func(r name.Reference) error { return remote.Write(r, img) })
	d, err := img.Digest()
	require.NoError(t, err)
	return digest.Digest(d.String())
}

// pull fetches all of an image through the worker and checks every digest.
func (w *worker) pull(ref string) error {
	r, err := name.ParseReference("worker.test/"+ref, name.Insecure)
	require.NoError(w.t, err)
	img, err := remote.Image(r, remote.WithTransport(w.client.Transport), remote.WithRetryStatusCodes())
	if err != nil {
		return err
	}
	return validate.Image(img)
}
