package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// A token is for a scope, and any number of clients share it.
func TestOneTokenForEachScope(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 1000, 2000, 3000, 4000, 5000)
	for _, repo := range []string{"podman/hello", "team/app"} {
		u.Push(t, repo+":latest", img)
	}
	a := harness.Cache(t, u)
	var asking sync.WaitGroup
	for i := range 50 {
		layer, _ := harness.Layer(t, img, i%5)
		repo := []string{"podman/hello", "team/app"}[i%2]
		c := a.HTTP(t)
		asking.Go(func() {
			answer, err := c.Do(http.MethodGet, "/v2/quay.io/"+repo+"/blobs/"+layer)
			if err != nil || answer.Status != http.StatusOK {
				t.Errorf("%d %v", answer.Status, err)
			}
		})
	}
	asking.Wait()
	require.Equal(t, 2, u.Tokens.Count("", ""), "one for each repository")
}

// A token that the upstream no longer takes is replaced, once.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 100_000, 100)
	u.Push(t, "podman/hello:latest", img)
	first, _ := harness.Layer(t, img, 0)
	second, _ := harness.Layer(t, img, 1)
	a := harness.Cache(t, u)
	a.HTTP(t).Get(manifestPath)
	require.Equal(t, 1, u.Tokens.Count("", ""))
	refuse := harness.Status(http.StatusUnauthorized, "WWW-Authenticate",
		`Bearer realm="`+u.Tokens.Realm()+`",service="registry.test",scope="repository:podman/hello:pull"`)

	u.Inject(http.MethodGet, first, harness.Sequence(refuse))
	a.HTTP(t).Get(blobs + first)
	require.Equal(t, 2, u.Tokens.Count("", ""))
	require.Equal(t, 2, u.Count(http.MethodGet, first))

	u.Inject(http.MethodGet, second, refuse)
	a.HTTP(t).Fails(http.MethodGet, blobs+second, http.StatusForbidden, "DENIED")
	require.Equal(t, 3, u.Tokens.Count("", ""))
	require.Equal(t, 2, u.Count(http.MethodGet, second))
}

// Wrong credentials are said clearly, once, in the log, and in a metric and by
// check as long as they are wrong.
func TestWrongCredentialsAreReportedOnce(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	for _, repo := range []string{"podman/hello", "team/app"} {
		u.Push(t, repo+":latest", harness.Image(t, 100))
	}
	a := harness.Cache(t, u)
	const metric = "registry_cache_upstream_credentials_ok"
	a.HTTP(t).Get(manifestPath)
	require.Equal(t, 1.0, a.Metric(t, metric, "upstream", "quay.io", "scope", "quay.io"))

	u.Tokens.RemoveUser("robot")
	a.Restart()
	for _, repo := range []string{"podman/hello", "team/app", "podman/hello", "team/app"} {
		message := a.HTTP(t).Fails(http.MethodGet, "/v2/quay.io/"+repo+"/manifests/latest", http.StatusForbidden, "DENIED")
		require.Contains(t, message, "check the credentials for quay.io in the pull secret")
	}
	const line = "the upstream refuses the credentials"
	require.Contains(t, a.WaitLog(line), "quay.io")
	require.Equal(t, 1, strings.Count(a.Output(), line))
	require.Zero(t, a.Metric(t, metric, "upstream", "quay.io"))
	out, err := a.Command("check").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "check the credentials for quay.io in the pull secret")
	require.NotContains(t, a.Output()+string(out), "pass:w0rd")
}

// The upstream can't send the credentials wherever it likes.
func TestForeignRealmIsRefused(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	elsewhere := harness.NewTokenServer(t, "127.0.0.2:0", map[string]harness.User{})
	u.Inject("", "", harness.Status(http.StatusUnauthorized, "WWW-Authenticate", `Bearer realm="`+elsewhere.Realm()+`",service="x"`))
	a := harness.Cache(t, u)
	message := a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusForbidden, "DENIED")
	require.Contains(t, message, "tokenRealms")
	require.Zero(t, elsewhere.Count("", ""))
}

// Blobs often lie at another host, which gets no credentials.
func TestRedirectToStorage(t *testing.T) {
	t.Parallel()
	u, storage := harness.NewUpstream(t), harness.NewDepot(t)
	img := harness.Image(t, 300_000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Cache(t, u)
	a.HTTP(t).Get(manifestPath) // with a token
	blob, content := storage.Random(t, 500_000)
	u.Inject("", blob, harness.Redirect(storage.URL()))
	require.Equal(t, content, a.HTTP(t).Get(blobs+blob).Body)
	for _, r := range storage.Requests("", "") {
		require.Empty(t, r.Header.Get("Authorization"))
		require.Empty(t, r.Header.Get("Referer"))
	}
	require.NotZero(t, storage.Count("", blob))
}

// A registry with user and password and no token server.
func TestBasicOnlyUpstream(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Inject("", "", harness.WantBasic("robot", "pass:w0rd"))
	a := harness.Cache(t, u)
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	require.Equal(t, 1.0, a.Metric(t, "registry_cache_upstream_credentials_ok", "scope", "quay.io"))
	refused := 0
	for _, r := range u.Requests("", "") {
		if r.Header.Get("Authorization") == "" {
			refused++
		}
	}
	require.Equal(t, 1, refused, "it asks for them once")
}

// What Docker Hub says of its limits is to be seen.
func TestRateLimitMetrics(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "library/busybox:latest", harness.Image(t, 100))
	u.Inject("", "/manifests/", harness.AddHeader("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=21600"))
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{"docker.io": u.Settings()}})
	a.HTTP(t).Get("/v2/docker.io/busybox/manifests/latest")
	require.Equal(t, 100.0, a.Metric(t, "registry_cache_upstream_ratelimit_limit", "upstream", "docker.io"))
	require.Equal(t, 76.0, a.Metric(t, "registry_cache_upstream_ratelimit_remaining", "upstream", "docker.io"))
}

// However much is wanted at once, an upstream sees a bounded number of
// transfers; a small question does not wait for them.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	const limit = 32
	d := harness.NewDepot(t)
	a := d.Cache(t, nil)
	release := make(chan struct{})
	d.Inject(http.MethodGet, "/blobs/", harness.Wait(release))
	var pulling sync.WaitGroup
	for i := range 2 * limit {
		blob, content := d.Random(t, 1000+i)
		pulling.Go(func() { readAll(t, a, blob, content, 1) })
	}
	harness.Eventually(t, func() bool {
		return a.Metric(t, "registry_cache_fill_running", "upstream", "quay.io") == 2*limit
	}, "all are wanted")
	blob, content := d.Random(t, 1000)
	head := a.HTTP(t).Must(http.MethodHead, blobs+blob)
	require.Equal(t, http.StatusOK, head.Status)
	require.LessOrEqual(t, d.Active(http.MethodGet, "/blobs/"), limit)
	require.NotZero(t, d.Active(http.MethodGet, "/blobs/"))
	close(release)
	pulling.Wait()
	readAll(t, a, blob, content, 1)
}
