package router

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
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
			got[key] = m.GetCounter().GetValue()
		}
	}
	assert.Equal(t, map[string]float64{
		"registry_cache_requests_total cache_status=hit code=200 kind=manifests upstream=quay.io": 3,
		"registry_cache_requests_total cache_status=local code=404 kind= upstream=":               1,
		"registry_cache_sent_bytes_total cache_status=hit upstream=quay.io":                       10,
		"registry_cache_sent_bytes_total cache_status=local upstream=":                            got["registry_cache_sent_bytes_total cache_status=local upstream="],
		"registry_cache_access_log_dropped_lines_total":                                           0,
	}, got)
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
	var log syncBuffer
	h := &handler{log: zerolog.New(&log), metrics: newMetrics(nil)} // without a state
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v2/quay.io/a/manifests/1", nil))
	assert.Equal(t, http.StatusInternalServerError, recorder.Code)
	requireError(t, recorder.Body.String(), errcode.ErrorCodeUnknown, "bug")
	assert.Contains(t, log.String(), "report it")
}
