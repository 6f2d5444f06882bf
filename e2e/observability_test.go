package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// RFC 9211: every answer says how it came about.
func TestCacheStatusOnEveryAnswer(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	layer, _ := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	blob := "/v2/quay.io/podman/hello/blobs/" + layer
	for _, try := range []struct{ method, path, want string }{
		{"GET", "/v2/", "registry-cache; detail=local"},
		{"GET", manifestPath, "registry-cache; fwd=uri-miss; stored"},
		{"GET", manifestPath, "registry-cache; fwd=stale; fwd-status=200; detail=revalidated"},
		{"GET", "/v2/quay.io/podman/hello/manifests/" + harness.Digest(t, img), "registry-cache; hit"},
		{"GET", blob, "registry-cache; fwd=uri-miss; stored"},
		{"GET", blob, "registry-cache; hit"},
		{"HEAD", blob, "registry-cache; hit"},
		{"GET", "/v2/_catalog", "registry-cache; detail=local"},
		{"GET", "/v2/quay.io/podman/hello/tags/list", ""},
		{"GET", "/v2/quay.io/podman/none/manifests/1", "registry-cache; fwd=uri-miss; detail=failed"},
		{"GET", "/v2/nowhere.example/a/b/manifests/1", "registry-cache; detail=local"},
		{"GET", "/v2/quay.io/A/b/manifests/1", "registry-cache; detail=local"},
		{"PUT", manifestPath, "registry-cache; detail=local"},
		{"GET", "/elsewhere", "registry-cache; detail=local"},
	} {
		answer := c.Must(try.method, try.path)
		if try.path == blob {
			a.WaitStored(t, layer)
		}
		status := answer.Header.Values("Cache-Status")
		require.Len(t, status, 1, "%v", try)
		require.True(t, strings.HasPrefix(status[0], "registry-cache; "), "%v: %s", try, status)
		if try.want != "" {
			require.Equal(t, try.want, status[0], "%v", try)
		}
		for name := range answer.Header {
			require.False(t, strings.HasPrefix(name, "X-Accel"), "%v: %s is for the router alone", try, name)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	a := harness.Cache(t, u)
	require.Equal(t, "ok\n", string(a.Metrics(t).Get("/healthz").Body))
	var ready struct {
		Status    string
		Processes []struct {
			Name, State string
			PID         int
		}
	}
	require.NoError(t, json.Unmarshal(a.Metrics(t).Get("/readyz").Body, &ready))
	require.Equal(t, "ok", ready.Status)
	children := a.Children()
	require.Len(t, ready.Processes, len(children))
	for _, p := range ready.Processes {
		require.Equal(t, "ready", p.State)
		require.Equal(t, children["registry-cache "+p.Name], p.PID, p.Name)
	}
	out, err := a.Command("healthcheck").CombinedOutput()
	require.NoError(t, err, "%s", out)
	a.Stop()
	out, err = a.Command("healthcheck").CombinedOutput()
	require.Error(t, err, "%s", out)
}

// The metrics are true: they say what the upstream and the clients saw.
func TestMetrics(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 300_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	blob := "/v2/quay.io/podman/hello/blobs/" + layer
	c.Get(manifestPath)
	c.Get(blob)
	a.WaitStored(t, layer)
	c.Get(blob)
	c.Get(blob)
	c.Must(http.MethodGet, "/v2/quay.io/podman/none/manifests/1")

	harness.Eventually(t, func() bool {
		return a.Metric(t, "registry_cache_requests_total", "upstream", "quay.io", "cache_status", "hit") == 2
	}, "two hits")
	require.Equal(t, 2.0, a.Metric(t, "registry_cache_requests_total", "upstream", "quay.io", "cache_status", "miss"))
	require.Equal(t, 1.0, a.Metric(t, "registry_cache_requests_total", "upstream", "quay.io", "cache_status", "failed"))
	sent := a.Metric(t, "registry_cache_sent_bytes_total", "upstream", "quay.io")
	require.GreaterOrEqual(t, sent, float64(3*len(content)+len(harness.Manifest(t, img))))
	received := a.Metric(t, "registry_cache_upstream_received_bytes_total", "upstream", "quay.io")
	require.GreaterOrEqual(t, received, float64(len(content)))
	require.Less(t, received, 1.1*float64(len(content)))
	require.Equal(t, float64(u.Count("", "")+u.Tokens.Count("", "")),
		a.Metric(t, "registry_cache_upstream_requests_total", "upstream", "quay.io"))
	require.Equal(t, 4.0, a.Metric(t, "registry_cache_process_up"))

	for name, family := range a.AllMetrics(t) {
		require.NotEmpty(t, family.GetHelp(), name)
	}
}

// The metrics of all processes are one set, in which each worker's can be told.
func TestMetricsOfAllProcessesAreMerged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range siteNames {
		s.HTTP(t).Get("/v2/team/app/blobs/" + s.layers[name] + "?ns=" + name)
	}
	s.HTTP(t).Get("/v2/quay.io/library/busybox/manifests/1")
	for _, name := range siteNames {
		harness.Eventually(t, func() bool {
			return s.Metric(t, "registry_cache_fill_completed_total", "upstream", name) == 1
		}, "one fill of %s", name)
	}
	require.Equal(t, float64(len(siteNames)), s.Metric(t, "registry_cache_fill_completed_total"))
	require.Zero(t, s.Metric(t, "registry_cache_process_scrape_failures_total"))
	require.Equal(t, float64(len(s.Children())), s.Metric(t, "registry_cache_process_up"))
}
