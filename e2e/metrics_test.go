package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// series are all of a scrape, as Prometheus tells them apart.
func series(t *testing.T, families map[string]*dto.MetricFamily) []string {
	t.Helper()
	var all []string
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := []string{name}
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			all = append(all, strings.Join(labels, " "))
		}
	}
	slices.Sort(all)
	return all
}

// The metrics of all processes together are what promtool would have of one.
func TestMetricsFollowConventions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.HTTP(t)
	for _, name := range siteNames {
		for range 2 {
			c.Get("/v2/team/app/manifests/1?ns=" + name)
			c.Get("/v2/team/app/blobs/" + s.layers[name] + "?ns=" + name)
			s.WaitStored(t, s.layers[name])
		}
	}
	c.Get("/v2/_catalog")
	harness.Eventually(t, func() bool {
		return s.Metric(t, "registry_cache_requests_total", "kind", "blobs") == float64(2*len(siteNames))
	}, "all are counted")

	body := s.Metrics(t).Get("/metrics").Body
	problems, err := promlint.New(bytes.NewReader(body)).Lint() // fails on a family that is there twice
	require.NoError(t, err)
	require.Empty(t, problems)
	typed, helped := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(body)) {
		switch f := strings.Fields(line); f[1] {
		case "TYPE":
			typed[f[2]]++
		case "HELP":
			helped[f[2]]++
			require.Greater(t, len(f), 3, line)
		}
	}
	families := s.AllMetrics(t)
	for name, family := range families {
		require.Equal(t, 1, typed[name], name)
		require.Equal(t, 1, helped[name], name)
		require.NotEqual(t, dto.MetricType_UNTYPED, family.GetType(), name)
	}
	all := series(t, families)
	require.Equal(t, all, slices.Compact(slices.Clone(all)), "a series is there twice")
}

// Histograms stay whole when those of several processes are put together.
func TestHistogramsAreMerged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range siteNames {
		s.HTTP(t).Get("/v2/team/app/manifests/1?ns=" + name)
	}
	families := s.AllMetrics(t)
	require.Contains(t, families, "registry_cache_request_duration_seconds")
	for name, family := range families {
		if family.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		var bounds []float64
		for i, m := range family.GetMetric() {
			h := m.GetHistogram()
			var own []float64
			last := uint64(0)
			for _, b := range h.GetBucket() {
				own = append(own, b.GetUpperBound())
				require.GreaterOrEqual(t, b.GetCumulativeCount(), last, name)
				last = b.GetCumulativeCount()
			}
			require.True(t, slices.IsSorted(own), "%s: %v", name, own)
			require.True(t, math.IsInf(own[len(own)-1], 1), "%s: %v", name, own)
			require.Equal(t, h.GetSampleCount(), last, name)
			if i == 0 {
				bounds = own
			}
			require.Equal(t, bounds, own, "quantiles over several need the same buckets: %s", name)
		}
	}
	require.EqualValues(t, len(siteNames),
		s.observed(t, "registry_cache_request_duration_seconds", "kind", "manifests", "cache_status", "miss"))
}

// observed is how often something was observed by a histogram.
func (s *site) observed(t *testing.T, name string, labels ...string) (n uint64) {
	t.Helper()
	for _, m := range s.AllMetrics(t)[name].GetMetric() {
		if harness.Has(m, labels...) {
			n += m.GetHistogram().GetSampleCount()
		}
	}
	return n
}

// A client can't make Prometheus remember what it asked for.
func TestNoLabelIsSetByAClient(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	counted := 0.0
	round := func(odd string) []string {
		digest := "sha256:" + strings.Repeat(odd[len(odd)-1:], 64)
		for _, path := range []string{
			"/v2/quay.io/%s/hello/manifests/latest", "/v2/quay.io/podman/hello/manifests/%s", "/v2/quay.io/podman/%s/tags/list",
			"/v2/%s.example/podman/hello/manifests/latest", "/v2/podman/hello/manifests/latest?ns=%s.example",
			"/v2/%s", "/%s", "/v2/quay.io/podman/hello/%s", "/v2/quay.io/podman/hello/manifests/latest?%s=1",
			"/v2/quay.io/podman/%%22%s%%0A/manifests/latest",
		} {
			c.With("User-Agent", odd).With("Accept", odd).Must(http.MethodGet, fmt.Sprintf(path, odd))
			counted++
		}
		c.Must(http.MethodGet, "/v2/quay.io/podman/hello/blobs/"+digest)
		c.Must(http.MethodGet, "/v2/quay.io/podman/hello/manifests/"+digest)
		c.Must(http.MethodGet, "/v2/quay.io/podman/hello/referrers/"+digest)
		c.Must(strings.ToUpper(odd), "/v2/quay.io/podman/hello/manifests/latest")
		counted += 4
		harness.Eventually(t, func() bool { return a.Metric(t, "registry_cache_requests_total") >= counted }, "all are counted")
		families := a.AllMetrics(t)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					require.NotContains(t, strings.ToLower(l.GetValue()), odd, family.GetName())
				}
			}
		}
		return series(t, families)
	}
	round("odd-e") // latest is a miss once
	first := round("odd-a")
	for _, odd := range []string{"odd-b", "odd-c", "odd-d"} {
		require.Empty(t, added(first, round(odd)))
	}
}

// added is what is in after and not in before.
func added(before, after []string) []string {
	known := map[string]bool{}
	for _, s := range before {
		known[s] = true
	}
	return slices.DeleteFunc(slices.Clone(after), func(s string) bool { return known[s] })
}

// What an operator is to see of the cache is there, under these names.
func TestMetricsThatOperatorsNeed(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Inject("", "/manifests/", harness.AddHeader("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=21600"))
	a := harness.Cache(t, u)
	skopeo := harness.Skopeo(t)
	for range 2 {
		skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	}
	families := a.AllMetrics(t)
	for what, name := range map[string]string{
		"latency by cache status":          "registry_cache_request_duration_seconds",
		"requests":                         "registry_cache_requests_total",
		"upstream requests by status code": "registry_cache_upstream_requests_total",
		"fills":                            "registry_cache_fill_completed_total",
		"resumes":                          "registry_cache_fill_resumed_total",
		"bytes fetched":                    "registry_cache_upstream_received_bytes_total",
		"bytes saved":                      "registry_cache_saved_bytes_total",
		"evictions":                        "registry_cache_evictions_total",
		"store bytes":                      "registry_cache_store_bytes",
		"circuit state":                    "registry_cache_upstream_circuit_open",
		"whether upstreams answer":         "registry_cache_upstream_failing",
		"rate-limit left":                  "registry_cache_upstream_ratelimit_remaining",
		"restarts":                         "registry_cache_process_restarts_total",
	} {
		require.Contains(t, slices.Collect(maps.Keys(families)), name, what)
	}
	sent := a.Metric(t, "registry_cache_sent_bytes_total", "upstream", "quay.io")
	saved := a.Metric(t, "registry_cache_saved_bytes_total", "upstream", "quay.io")
	require.InDelta(t, sent/2, saved, 0, "the second pull")
}
