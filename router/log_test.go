package router

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/accesslog"
	"registrycache/logger/logtest"
	"registrycache/router/pulls"
)

func TestEveryRequestIsRecorded(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", someDigest)
		w.Header().Set("Cache-Status", accesslog.Miss.Header())
		_, _ = io.WriteString(w, "hello")
	})
	c.start()
	begin := time.Now()
	c.do(c.request(http.MethodGet, "/v2/q/podman/hello/manifests/latest?x=1", http.Header{
		"User-Agent": {"podman/5"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Real-Ip": {"1.2.3.4"},
	}))
	c.do(c.request(http.MethodHead, "/v2/q/podman/hello/blobs/"+someDigest, nil))
	c.get("/v2/q/podman/hello/tags/list")
	c.get("/v2/_catalog")
	c.get("/v2/")
	c.get("/v2/quay.io/Podman/tags/list")
	c.get("/")
	c.get("/v2/docker.io/a/manifests/1")

	want := []accesslog.Record{
		{Path: "/v2/q/podman/hello/manifests/latest", Upstream: "quay.io", Repository: "quay.io/podman/hello", Reference: "latest",
			Kind: "manifests", Digest: someDigest, Status: 200, Bytes: 5, Cache: accesslog.Miss, UserAgent: "podman/5"},
		{Method: "HEAD", Path: "/v2/q/podman/hello/blobs/" + someDigest, Upstream: "quay.io", Repository: "quay.io/podman/hello", Reference: someDigest,
			Kind: "blobs", Digest: someDigest, Status: 200, Cache: accesslog.Miss},
		{Path: "/v2/q/podman/hello/tags/list", Upstream: "quay.io", Repository: "quay.io/podman/hello",
			Kind: "tags", Digest: someDigest, Status: 200, Bytes: 5, Cache: accesslog.Miss},
		{Path: "/v2/_catalog", Kind: "catalog", Status: 200, Bytes: 19, Cache: accesslog.Local},
		{Path: "/v2/", Status: 200, Bytes: 2, Cache: accesslog.Local},
		{Path: "/v2/quay.io/Podman/tags/list", Status: 400, Cache: accesslog.Local},
		{Path: "/", Status: 200, Bytes: int64(len(greeting)), Cache: accesslog.Local},
		{Path: "/v2/docker.io/a/manifests/1", Upstream: "docker.io", Repository: "docker.io/library/a", Reference: "1",
			Kind: "manifests", Status: 503, Cache: accesslog.Failed},
	}
	for i := range want {
		if want[i].Method == "" {
			want[i].Method = http.MethodGet
		}
		if want[i].UserAgent == "" {
			want[i].UserAgent = "Go-http-client/1.1"
		}
	}
	got := c.records(len(want))
	for _, i := range []int{5, 7} {
		assert.Positive(t, got[i].Bytes)
		got[i].Bytes = 0 // errors may be worded in any length
	}
	assert.Empty(t, cmp.Diff(want, got, cmpopts.IgnoreFields(accesslog.Record{}, "Time", "Duration", "RemoteAddr")))
	for _, r := range got {
		assert.Contains(t, r.RemoteAddr, "127.0.0.1", "the connection's, whatever the client says")
		assert.WithinRange(t, r.Time, begin.Add(-time.Second), time.Now())
		assert.Positive(t, r.Duration)
	}
}

// However a request is answered, it belongs to its pull.
func TestPullIsALineOfTheLog(t *testing.T) {
	c := newCache(t)
	layer := c.blob("layer")
	c.worker("quay.io", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Status", accesslog.Hit.Header())
		switch {
		case strings.HasSuffix(r.URL.Path, "/manifests/latest"):
			w.Header().Set(digestHeader, someDigest)
			_, _ = io.WriteString(w, "{}")
		case strings.HasSuffix(r.URL.Path, "/manifests/broken"):
			w.WriteHeader(http.StatusBadGateway)
		case strings.HasSuffix(r.URL.Path, string(layer)):
			w.Header().Set(handoffHeader, layer.String())
		default:
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "breaks")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	c.start()
	c.handler.pulls.Quiet = time.Hour // none ends by itself
	for range 3 {                     // from the worker, and from memory
		c.get("/v2/quay.io/a/manifests/latest")
		c.get("/v2/quay.io/a/blobs/" + layer.String())
	}
	c.get("/v2/quay.io/b/manifests/broken")
	c.get("/v2/quay.io/c/manifests/latest")
	response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/c/blobs/"+someDigest, nil))
	require.NoError(t, err)
	_, err = io.ReadAll(response.Body)
	require.Error(t, err)
	require.NoError(t, response.Body.Close())
	c.records(9)
	require.NoError(t, c.stop())

	type line struct {
		Image, Digest, Cache, Client string
		Bytes                        int64
		Requests, Times              int
	}
	var got []line
	for text := range strings.Lines(c.log.String()) {
		if strings.Contains(text, pulls.Message) {
			var l line
			require.NoError(t, json.Unmarshal([]byte(text), &l))
			got = append(got, l)
		}
	}
	assert.Equal(t, []line{
		{Image: "quay.io/a:latest", Digest: someDigest, Cache: "hit", Client: "127.0.0.1", Bytes: 3 * 7, Requests: 6, Times: 3},
		{Image: "quay.io/b:broken", Cache: "failed", Client: "127.0.0.1", Requests: 1, Times: 1},
		{Image: "quay.io/c:latest", Digest: someDigest, Cache: "failed", Client: "127.0.0.1", Bytes: 8, Requests: 2, Times: 1},
	}, got)
}

func TestRequestsAndBytesAreCounted(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Status", accesslog.Hit.Header())
		_, _ = io.WriteString(w, "hello")
	})
	c.start()
	c.get("/v2/quay.io/a/manifests/1")
	c.get("/v2/quay.io/a/manifests/2")
	c.do(c.request(http.MethodHead, "/v2/quay.io/a/manifests/2", nil))
	c.get("/v2/evil.example/a/manifests/2")
	c.records(4)

	families, err := c.metrics.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			key := family.GetName()
			for _, label := range m.GetLabel() {
				key += " " + label.GetName() + "=" + label.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	assert.Equal(t, map[string]float64{
		"registry_cache_requests_total cache_status=hit code=200 kind=manifests upstream=quay.io": 3,
		"registry_cache_requests_total cache_status=local code=404 kind= upstream=":               1,
		"registry_cache_sent_bytes_total cache_status=hit upstream=quay.io":                       10,
		"registry_cache_sent_bytes_total cache_status=local upstream=":                            got["registry_cache_sent_bytes_total cache_status=local upstream="],
		"registry_cache_request_duration_seconds cache_status=hit kind=manifests":                 3,
		"registry_cache_saved_bytes_total upstream=quay.io":                                       10,
		"registry_cache_access_log_dropped_lines_total":                                           0,
	}, got)
}

// The metrics of workers have the upstream as it is configured.
func TestUpstreamWithAPortIsCountedUnderItsName(t *testing.T) {
	c := newCache(t)
	c.settings.Routes = append(c.settings.Routes, c.route("registry.lab_5000"))
	c.settings.Routes[2].Name = "registry.lab:5000"
	c.worker("registry.lab_5000", text("hello"))
	c.start()
	c.get("/v2/registry.lab_5000/a/manifests/1")
	require.Equal(t, "registry.lab_5000", c.records(1)[0].Upstream)
	requests := c.handler.metrics.requests
	assert.Equal(t, 1, testutil.CollectAndCount(requests))
	assert.Equal(t, 1, requests.DeletePartialMatch(prometheus.Labels{"upstream": "registry.lab:5000"}))
}

func TestBytesThatWereHereAreSaved(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	m.know([]config.Route{{Path: "quay.io", Name: "quay.io"}})
	for _, cache := range []accesslog.CacheStatus{
		accesslog.Hit, accesslog.Revalidated, accesslog.Stale, accesslog.Collapsed,
		accesslog.Miss, accesslog.Passed, accesslog.Failed, accesslog.Local,
	} {
		for range 2 {
			m.count(&accesslog.Record{Upstream: "quay.io", Kind: "blobs", Cache: cache, Status: 200, Bytes: 10, Duration: 0.002})
		}
	}
	assert.InDelta(t, 4*2*10, testutil.ToFloat64(m.saved.WithLabelValues("quay.io")), 0)
	var hits dto.Metric
	require.NoError(t, m.duration.WithLabelValues("blobs", "hit").(prometheus.Histogram).Write(&hits))
	assert.InDelta(t, 0.004, hits.GetHistogram().GetSampleSum(), 1e-9)
}

func TestLogThatCantBeOpenedStopsNobody(t *testing.T) {
	c := newCache(t)
	file := filepath.Join(c.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	c.settings.AccessLog = filepath.Join(file, "access.log")
	c.start()
	response, _ := c.get("/v2/")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Contains(t, c.log.String(), "serving without an access log")
}

func TestBugIsAnErrorAndNotTheEnd(t *testing.T) {
	var log logtest.Buffer
	h := &handler{log: zerolog.New(&log), metrics: newMetrics(nil), pulls: pulls.New(zerolog.Nop())} // without a state
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v2/quay.io/a/manifests/1", nil))
	assert.Equal(t, http.StatusInternalServerError, recorder.Code)
	requireError(t, recorder.Body.String(), errcode.ErrorCodeUnknown, "bug")
	assert.Contains(t, log.String(), "report it")
}
