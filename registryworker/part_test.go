package registryworker

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/status"
)

// settled waits until all that was pulled is stored: clients have the last byte
// a little earlier.
func (w *worker) settled() {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return len(w.part().Fills) == 0 }, time.Minute, time.Millisecond)
}

func TestPartFollowsTheUpstream(t *testing.T) {
	up := fakeRegistry(t)
	pushImage(t, up, "podman/hello:latest")
	w := startWorker(t, t.TempDir(), up.URL)
	require.Equal(t, status.Part{Upstream: &status.Upstream{
		Name: "quay.io", Path: "quay.io", State: status.Untried, Circuit: status.CircuitClosed, Credentials: status.Anonymous,
	}}, w.part())

	require.NoError(t, w.pull("quay.io/podman/hello:latest"))
	w.settled()
	require.Equal(t, 404, w.get("/v2/quay.io/podman/hello/manifests/none").StatusCode)
	u := w.part().Upstream
	assert.Equal(t, status.Answering, u.State)
	assert.False(t, u.Answered.IsZero())
	assert.Nil(t, u.Failure, "that there is no such tag is an answer")

	up.Close()
	require.Equal(t, 200, w.get("/v2/quay.io/podman/hello/manifests/latest").StatusCode, "a stale answer")
	u = w.part().Upstream
	assert.Equal(t, status.Failing, u.State)
	assert.Equal(t, status.CircuitOpen, u.Circuit)
	require.NotNil(t, u.Failure)
	assert.Contains(t, u.Failure.Text, "quay.io: resolve podman/hello:latest: unavailable")
}

func TestPartOfAnOfflineWorker(t *testing.T) {
	w := startWorker(t, t.TempDir(), "http://127.0.0.1:1", func(s *config.Worker) { s.Offline = true })
	require.Equal(t, 404, w.get("/v2/quay.io/podman/hello/manifests/latest").StatusCode)
	assert.Equal(t, status.Offline, w.part().Upstream.State)
}

func TestPartShowsFillsThatRun(t *testing.T) {
	kept := fakeRegistry(t)
	layer, err := random.Layer(300_000, "application/octet-stream")
	require.NoError(t, err)
	push(t, kept, "org/app", func(r name.Reference) error { return remote.WriteLayer(r.Context(), layer) })
	d, err := layer.Digest()
	require.NoError(t, err)
	size, err := layer.Size()
	require.NoError(t, err)
	rest := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(rest) })
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			kept.Config.Handler.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		r.Header.Del("Range")
		kept.Config.Handler.ServeHTTP(answer, r)
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, _ = w.Write(answer.Body.Bytes()[:200_000])
		w.(http.Flusher).Flush()
		<-rest
		_, _ = w.Write(answer.Body.Bytes()[200_000:])
	}))
	defer up.Close()
	defer goOn()
	w := startWorker(t, t.TempDir(), up.URL)
	begun := time.Now()
	done := make(chan answer, 1)
	go func() {
		defer close(done)
		done <- w.get("/v2/quay.io/org/app/blobs/" + d.String())
	}()
	var fills []status.Fill
	require.Eventually(t, func() bool {
		fills = w.part().Fills
		return len(fills) == 1 && fills[0].Have == 200_000 && fills[0].Readers == 1
	}, time.Minute, time.Millisecond)
	f := fills[0]
	assert.Positive(t, f.Rate)
	assert.WithinRange(t, f.Since, begun, time.Now())
	f.Rate, f.Since = 0, time.Time{}
	assert.Equal(t, status.Fill{
		Upstream: "quay.io", Repository: "quay.io/org/app", Digest: d.String(),
		Size: size, Have: 200_000, Readers: 1, Connections: 1,
	}, f)

	goOn()
	assert.Len(t, (<-done).body, int(size))
	w.settled()
}

// All metrics keep the conventions of Prometheus.
func TestMetrics(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RateLimit-Limit", "100;w=21600")
		w.Header().Set("RateLimit-Remaining", "76;w=21600")
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer up.Close()
	w := startWorker(t, t.TempDir(), up.URL, func(s *config.Worker) {
		s.Upstream.Credentials = []config.Credential{{Username: "me", Password: "wrong"}}
	})
	require.Equal(t, http.StatusForbidden, w.get("/v2/quay.io/podman/hello/manifests/latest").StatusCode)
	problems, err := testutil.GatherAndLint(w.reg)
	require.NoError(t, err)
	assert.Empty(t, problems)
	families, err := w.reg.Gather()
	require.NoError(t, err)
	have := map[string]bool{}
	for _, f := range families {
		have[f.GetName()] = true
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			assert.Equal(t, "quay.io", labels["upstream"], "%s: workers meet on one page", f.GetName())
		}
	}
	for _, want := range []string{
		"upstream_requests_total", "upstream_answer_seconds", "upstream_received_bytes_total", "upstream_credentials_ok",
		"upstream_ratelimit_limit", "upstream_ratelimit_remaining", "upstream_failing", "upstream_circuit_open",
		"tag_checks_total", "store_degraded", "fill_running", "fill_started_total", "fill_resumed_total", "fill_received_bytes_total",
	} {
		assert.True(t, have["registry_cache_"+want], want)
	}
	assert.Equal(t, status.Refused, w.part().Upstream.Credentials)
}
