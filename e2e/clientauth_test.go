package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

func htpasswd(t *testing.T, cost int, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	require.NoError(t, err)
	return user + ":" + string(hash) + "\n"
}

// startHtpasswd starts a cache that wants the one user to log in.
func startHtpasswd(t *testing.T, u *harness.Upstream, cost int, user, password string) *harness.Appliance {
	t.Helper()
	return harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env: map[string]string{
			"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "the cache",
			"REGISTRY_AUTH_HTPASSWD_PATH": "{dir}/htpasswd",
		},
		Prepare: func(dir string) {
			harness.WriteFile(t, filepath.Join(dir, "htpasswd"), htpasswd(t, cost, user, password))
		},
	})
}

const manifestPath = "/v2/quay.io/podman/hello/manifests/latest"

func TestHtpasswd(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "s3:cret")
	c := a.HTTP(t)

	for name, caller := range map[string]*harness.Caller{
		"nobody": c, "wrong password": c.As("puller", "wrong"), "unknown user": c.As("else", "s3:cret"),
		// What containers/image sends when it has no credentials.
		"empty": c.As("", ""), "bearer": c.With("Authorization", "Bearer abc"), "nonsense": c.With("Authorization", "Basic %%%"),
	} {
		for _, path := range []string{"/v2/", manifestPath, "/v2/_catalog", "/v2/quay.io/podman/hello/tags/list"} {
			answer := caller.Must(http.MethodGet, path)
			require.Equal(t, http.StatusUnauthorized, answer.Status, "%s %s", name, path)
			require.Equal(t, `Basic realm="the cache"`, answer.Header.Get("WWW-Authenticate"), "%s %s", name, path)
			answer.Error(t, "UNAUTHORIZED")
		}
	}
	require.Zero(t, u.Count("", "manifests"), "the upstream hears nothing of it")

	c.As("puller", "s3:cret").Get("/v2/")
	c.As("puller", "s3:cret").Get(manifestPath)
	skopeo, podman := harness.Skopeo(t), harness.Podman(t)
	image := a.Addr + "/quay.io/podman/hello:latest"
	skopeo.Copy(image, "--src-tls-verify=false", "--src-creds", "puller:s3:cret")
	podman.Must("pull", "--quiet", "--tls-verify=false", "--creds", "puller:s3:cret", image)
	podman.Must("login", "--tls-verify=false", "-u", "puller", "-p", "s3:cret", a.Addr)
	_, err := podman.Do("login", "--tls-verify=false", "-u", "puller", "-p", "wrong", a.Addr)
	require.Error(t, err)
	_, err = skopeo.Do("inspect", "--tls-verify=false", "docker://"+image)
	require.Error(t, err, "without credentials")
}

// Upstreams must never see the credentials that clients send.
func TestClientCredentialsStayHere(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{"quay.io": u.Settings()}})
	// containerd and dockerd send a registry's credentials to any mirror of it.
	c := a.HTTP(t).As("someone", "else's password").With("Cookie", "session=1")
	c.Get(manifestPath)
	for _, r := range u.Requests("", "") {
		require.Empty(t, r.Header.Get("Authorization"))
		require.Empty(t, r.Header.Get("Cookie"))
		require.NotContains(t, r.Header.Get("Accept-Encoding"), "gzip", "what is stored must be the bytes that were digested")
	}
}

func TestHtpasswdIsSwappedInPlace(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "old")
	before := a.Children()
	status := func(password string) int {
		return a.HTTP(t).As("puller", password).Must(http.MethodGet, manifestPath).Status
	}
	require.Equal(t, http.StatusOK, status("old"))
	require.Equal(t, http.StatusUnauthorized, status("new"))

	harness.WriteFile(t, filepath.Join(a.Dir, "htpasswd"), htpasswd(t, bcrypt.MinCost, "puller", "new"))
	harness.Eventually(t, func() bool { return status("new") == http.StatusOK }, "the new password")
	require.Equal(t, http.StatusUnauthorized, status("old"), "also a verified password is forgotten")

	// A broken file, and one that is gone, are reported and change nothing.
	harness.WriteFile(t, filepath.Join(a.Dir, "htpasswd"), "puller:plain\n")
	a.WaitLog("htpasswd", "bcrypt")
	require.Equal(t, http.StatusOK, status("new"))
	require.NoError(t, os.Remove(filepath.Join(a.Dir, "htpasswd")))
	a.WaitLog("htpasswd", "does not exist")
	require.Equal(t, http.StatusOK, status("new"))
	require.Equal(t, before, a.Children(), "no process was restarted")
}

// A hash of cost 12 takes a quarter of a second: once for each credential is
// fine, for each of an image's requests is not.
func TestBcryptIsPaidOncePerCredential(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := startHtpasswd(t, u, 12, "puller", "secret")
	router := a.Child(t, "registry-cache router")
	c := a.HTTP(t).As("puller", "secret")

	idle := harness.CPU(t, router)
	c.Get("/v2/")
	once := harness.CPU(t, router) - idle
	require.NotZero(t, once, "bcrypt takes CPU time")
	for range 50 {
		c.Get("/v2/")
	}
	many := harness.CPU(t, router) - idle - once
	require.Less(t, many, 10*once, "50 requests cost the router %s, the first alone %s", many, once)
}

// The other of distribution's ways to authenticate: the token server decides.
func TestTokenAuthentication(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Push(t, "secret/app:1", harness.Image(t, 3000))
	tokens := harness.NewTokenServer(t, "127.0.0.1:0", map[string]harness.User{
		"puller": {Password: "s3:cret", Repositories: []string{"quay.io/podman/*"}},
	})
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       tokens.Environment(),
	})
	answer := a.HTTP(t).Must(http.MethodGet, manifestPath)
	require.Equal(t, http.StatusUnauthorized, answer.Status)
	challenge := answer.Header.Get("WWW-Authenticate")
	require.Contains(t, challenge, `Bearer realm="`+tokens.Realm()+`"`)
	require.Contains(t, challenge, `scope="repository:quay.io/podman/hello:pull"`)
	require.Equal(t, http.StatusUnauthorized, a.HTTP(t).As("puller", "s3:cret").Must(http.MethodGet, manifestPath).Status)
	require.Equal(t, http.StatusUnauthorized, a.HTTP(t).With("Authorization", "Bearer abc").Must(http.MethodGet, manifestPath).Status)

	skopeo, podman := harness.Skopeo(t), harness.Podman(t)
	image := a.Addr + "/quay.io/podman/hello:latest"
	skopeo.Copy(image, "--src-tls-verify=false", "--src-creds", "puller:s3:cret")
	podman.Must("pull", "--quiet", "--tls-verify=false", "--creds", "puller:s3:cret", image)
	for _, try := range [][]string{
		{"inspect", "--tls-verify=false", "--creds", "puller:wrong", "docker://" + image},
		{"inspect", "--tls-verify=false", "--no-creds", "docker://" + image},
		{"inspect", "--tls-verify=false", "--creds", "puller:s3:cret", "docker://" + a.Addr + "/quay.io/secret/app:1"},
	} {
		_, err := skopeo.Do(try...)
		require.Error(t, err, "%s", try)
	}
	require.Zero(t, u.Count("", "secret/app"), "the upstream hears nothing of it")
}
