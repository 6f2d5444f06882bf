package e2e

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// Any number of clients that ask for a tag at once are one question upstream.
func TestOneHeadForManyClients(t *testing.T) {
	t.Parallel()
	const clients = 40
	for _, cached := range []string{"cold", "cached"} {
		t.Run(cached, func(t *testing.T) {
			t.Parallel()
			u := harness.NewUpstream(t)
			img := harness.Image(t, 3000)
			u.Push(t, "podman/hello:latest", img)
			a := harness.Cache(t, u)
			if cached == "cached" {
				a.HTTP(t).Get(manifestPath)
			}
			u.Forget()
			u.Tokens.Forget()
			release := make(chan struct{})
			u.Inject(http.MethodHead, "/manifests/latest", harness.Wait(release))
			var sent, asking sync.WaitGroup
			sent.Add(clients)
			for range clients {
				c := a.HTTP(t).OnSent(sent.Done)
				asking.Go(func() {
					answer, err := c.Do(http.MethodGet, manifestPath)
					if err != nil || answer.Status != http.StatusOK || answer.Header.Get("Docker-Content-Digest") != harness.Digest(t, img) {
						t.Errorf("%d %s %v", answer.Status, answer.Body, err)
					}
				})
			}
			harness.Eventually(t, func() bool { return u.Count(http.MethodHead, "/manifests/latest") == 1 }, "a HEAD")
			// All wait for it when all requests were read, and another, that
			// goes the same way, has come and gone.
			sent.Wait()
			a.WaitTaken(t)
			a.HTTP(t).Get("/v2/quay.io/podman/hello/tags/list")
			close(release)
			asking.Wait()
			// The very first request also finds out that a token is needed.
			require.Len(t, authorized(u.Requests(http.MethodHead, "/manifests/")), 1)
			require.LessOrEqual(t, len(authorized(u.Requests(http.MethodGet, "/manifests/"))), 1)
			require.LessOrEqual(t, u.Tokens.Count("", ""), 1, "one token for all")
		})
	}
}

// authorized are those of the requests that carry a token.
func authorized(all []harness.Request) []harness.Request {
	return slices.DeleteFunc(all, func(r harness.Request) bool { return r.Header.Get("Authorization") == "" })
}

// A tag that moved is followed, one that did not move costs one HEAD.
func TestTagIsCheckedEachTime(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	first, second := harness.Image(t, 100), harness.Image(t, 200)
	u.Push(t, "podman/hello:latest", first)
	a := harness.Cache(t, u)
	ask := func() harness.Answer { return a.HTTP(t).Get(manifestPath) }

	require.Equal(t, harness.Digest(t, first), ask().Header.Get("Docker-Content-Digest"))
	u.Forget()
	answer := ask()
	require.Equal(t, harness.Manifest(t, first), answer.Body)
	require.Contains(t, answer.Header.Get("Cache-Status"), "revalidated")
	require.Equal(t, 1, u.Count(http.MethodHead, "/manifests/latest"))
	require.Zero(t, u.Count(http.MethodGet, ""), "nothing is fetched that is here")

	u.Push(t, "podman/hello:latest", second)
	require.Equal(t, harness.Digest(t, second), ask().Header.Get("Docker-Content-Digest"))
	// The old one can still be had by digest.
	a.HTTP(t).Get("/v2/quay.io/podman/hello/manifests/" + harness.Digest(t, first))
}

func TestTagMaxAge(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"TAG_MAX_AGE": "1h"},
	})
	a.HTTP(t).Get(manifestPath)
	u.Forget()
	require.Contains(t, a.HTTP(t).Get(manifestPath).Header.Get("Cache-Status"), "; hit")
	require.Zero(t, u.Count("", ""), "the upstream is not asked")
}

// While the upstream fails, in whatever way, the image it last named is
// served, and says that it is stale.
func TestStaleTagWhileTheUpstreamFails(t *testing.T) {
	t.Parallel()
	failures := map[string]func(u *harness.Upstream){
		"unreachable":  func(u *harness.Upstream) { u.Stop() },
		"hanging":      func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Hang()) },
		"dropping":     func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Drop()) },
		"unavailable":  func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(503)) },
		"broken":       func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(500)) },
		"rate-limited": func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(429, "Retry-After", "3600")) },
		"denied":       func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(403)) },
		"no tokens":    func(u *harness.Upstream) { u.Tokens.RemoveUser("robot") },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := harness.NewUpstream(t)
			img := harness.Image(t, 3000)
			u.Push(t, "podman/hello:latest", img)
			a := harness.Cache(t, u)
			skopeo := harness.Skopeo(t)
			image := a.Addr + "/quay.io/podman/hello:latest"
			skopeo.Copy(image, "--src-tls-verify=false")
			fail(u)
			a.Restart() // no token, no verdict of before is remembered
			answer := a.HTTP(t).Get(manifestPath)
			require.Equal(t, harness.Manifest(t, img), answer.Body)
			require.Contains(t, answer.Header.Get("Cache-Status"), "detail=stale")
			skopeo.Copy(image, "--src-tls-verify=false")
		})
	}
}

// The upstream's clear word that there is no such tag is passed on.
func TestDeletedTagIsGone(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Cache(t, u)
	a.HTTP(t).Get(manifestPath)
	u.Inject("", "/manifests/", harness.Status(404))
	a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusNotFound, "MANIFEST_UNKNOWN")
}

func TestOfflineAsksNobody(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	online := harness.Cache(t, u)
	skopeo := harness.Skopeo(t)
	skopeo.Copy(online.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	online.Stop()
	u.Forget()
	u.Tokens.Forget()
	offline := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"OFFLINE": "true", "REGISTRYDIR": online.Store()},
	})
	skopeo.Copy(offline.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	message := offline.HTTP(t).Fails(http.MethodGet, "/v2/quay.io/podman/other/manifests/1", http.StatusNotFound, "MANIFEST_UNKNOWN")
	require.Contains(t, message, "OFFLINE")
	require.Empty(t, u.Requests("", ""))
	require.Empty(t, u.Tokens.Requests("", ""))
}
