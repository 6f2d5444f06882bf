package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// warm is an appliance that has podman/hello:latest whole.
func warm(t *testing.T, u *harness.Upstream, settings harness.Settings) *harness.Appliance {
	t.Helper()
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": settings},
	})
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	u.Forget()
	return a
}

// RFC 5861: within the grace nobody waits for the check that the first one
// causes; who comes after it has the new image.
func TestStaleWhileRevalidate(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	first, second := harness.Image(t, 100), harness.Image(t, 200)
	u.Push(t, "podman/hello:latest", first)
	a := warm(t, u, u.Settings().With("staleWhileRevalidate", "1h"))
	u.Push(t, "podman/hello:latest", second)
	release := make(chan struct{})
	u.Inject("", "/manifests/", harness.Wait(release))
	for range 10 {
		answer := a.HTTP(t).Get(manifestPath)
		require.Equal(t, harness.Digest(t, first), answer.Header.Get("Docker-Content-Digest"))
		require.Equal(t, "registry-cache; hit; detail=stale", answer.Header.Get("Cache-Status"))
	}
	harness.Eventually(t, func() bool { return u.Count("", "/manifests/latest") == 1 }, "one check")
	require.Zero(t, a.Metric(t, "registry_cache_upstream_failing"), "nobody has waited for it to answer")
	close(release)
	harness.Eventually(t, func() bool {
		return a.HTTP(t).Get(manifestPath).Header.Get("Docker-Content-Digest") == harness.Digest(t, second)
	}, "the new image")
}

// The hung upstream is waited for once; after that nobody waits while probes
// find out whether it answers again.
func TestHungUpstream(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := warm(t, u, u.Settings())
	in := u.Inject("", "/manifests/", harness.Hang())
	c := a.HTTP(t)
	for range 100 {
		require.Contains(t, c.Get(manifestPath).Header.Get("Cache-Status"), "detail=stale")
	}
	require.LessOrEqual(t, u.Count("", "/manifests/"), 2, "the one that hangs, and a probe at most")
	require.Equal(t, 1.0, a.Metric(t, "registry_cache_upstream_failing", "upstream", "quay.io"))
	a.WaitLog("upstream fails", "quay.io")

	in.Remove()
	u.Stop() // ends what hangs
	u.Start()
	harness.Eventually(t, func() bool {
		return a.HTTP(t).Get(manifestPath).Header.Get("Cache-Status") == "registry-cache; fwd=stale; fwd-status=200; detail=revalidated"
	}, "it recovers")
	require.Zero(t, a.Metric(t, "registry_cache_upstream_failing", "upstream", "quay.io"))
}

// How old a tag may be is each upstream's own.
func TestFreshnessOfEachUpstream(t *testing.T) {
	t.Parallel()
	fresh, checked := harness.NewOpenUpstream(t), harness.NewOpenUpstream(t)
	for _, u := range []*harness.Upstream{fresh, checked} {
		u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	}
	a := harness.Start(t, harness.Options{
		Upstreams: map[string]harness.Settings{
			"quay.io": fresh.Settings().With("tagMaxAge", "1h"), "ghcr.io": checked.Settings().With("staleIfError", "0s"),
		},
		Env: map[string]string{"TAG_MAX_AGE": "0s", "TAG_STALE_IF_ERROR": "always"},
	})
	c := a.HTTP(t)
	for _, path := range []string{"quay.io", "ghcr.io"} {
		c.Get("/v2/" + path + "/podman/hello/manifests/latest")
		c.Get("/v2/" + path + "/podman/hello/manifests/latest")
	}
	require.Equal(t, 1, fresh.Count(http.MethodHead, "/manifests/latest"))
	require.Equal(t, 2, checked.Count(http.MethodHead, "/manifests/latest"))
	fresh.Stop()
	checked.Stop()
	c.Get("/v2/quay.io/podman/hello/manifests/latest")
	c.Fails(http.MethodGet, "/v2/ghcr.io/podman/hello/manifests/latest", http.StatusServiceUnavailable, "UNAVAILABLE")
}

// "Not found" is believed for some seconds, and not for long.
func TestNotFoundIsRememberedShortly(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	a := harness.Cache(t, u)
	for range 5 {
		a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusNotFound, "MANIFEST_UNKNOWN")
	}
	require.Equal(t, 1, u.Count("", "/manifests/"))
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	harness.Eventually(t, func() bool { return a.HTTP(t).Must(http.MethodGet, manifestPath).Status == http.StatusOK }, "it is found")
}
