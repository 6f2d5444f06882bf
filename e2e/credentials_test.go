package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// The longest key of the pull secret that fits a repository wins, and each
// user sees only what is his, so a wrong choice fails.
func TestLongestPrefixCredentials(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t, harness.WithUsers(map[string]harness.User{
		"whole": {Password: "w:1", Repositories: []string{"common/*", "org2/*", "organisation/*"}},
		"org":   {Password: "o:2:", Repositories: []string{"org/app", "org/team/app"}},
		"repo":  {Password: ":r3", Repositories: []string{"org/secret"}},
	}))
	for _, repo := range []string{"common/app", "org/app", "org/team/app", "org/secret", "org2/app", "organisation/app", "org/unseen"} {
		u.Push(t, repo+":1", harness.Image(t, 100))
	}
	a := harness.Start(t, harness.Options{
		Logins: map[string]string{
			"quay.io": "whole:w:1", "quay.io/org": "org:o:2:", "quay.io/org/secret": "repo::r3",
		},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
	})
	skopeo := harness.Skopeo(t)
	for _, repo := range []string{"common/app", "org/app", "org/team/app", "org/secret", "org2/app", "organisation/app"} {
		skopeo.Copy(a.Addr+"/quay.io/"+repo+":1", "--src-tls-verify=false")
	}
	// The user of the prefix may not have this one; no other is tried.
	answer := a.HTTP(t).Must(http.MethodGet, "/v2/quay.io/org/unseen/manifests/1")
	require.Equal(t, http.StatusForbidden, answer.Status, "%s", answer.Body)

	workers := 0
	for cmdline := range a.Children() {
		if cmdline == "registry-cache worker quay.io" {
			workers++
		}
	}
	require.Equal(t, 1, workers, "three keys, one host, one worker")
}

// The forms in which docker and podman write down Docker Hub.
func TestDockerHubKeys(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "library/busybox:1", harness.Image(t, 100))
	for _, key := range []string{"https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", "docker.io"} {
		a := harness.Start(t, harness.Options{
			Logins:    map[string]string{key: harness.Login},
			Upstreams: map[string]harness.Settings{"docker.io": u.Settings()},
		})
		a.HTTP(t).Get("/v2/busybox/manifests/1")
		a.Child(t, "registry-cache worker docker.io")
		a.Stop()
	}
}

// Repository patterns bound what may be pulled through the cache.
func TestOnlyAllowedRepositories(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:1", harness.Image(t, 100))
	u.Push(t, "other/hello:1", harness.Image(t, 100))
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{
		"quay.io": u.Settings().With("repositories", []string{"podman/*"}),
	}})
	a.HTTP(t).Get("/v2/quay.io/podman/hello/manifests/1")
	answer := a.HTTP(t).Must(http.MethodGet, "/v2/quay.io/other/hello/manifests/1")
	require.Equal(t, http.StatusForbidden, answer.Status, "%s", answer.Body)
	require.Zero(t, u.Count("", "other"))
}

// A registry with a certificate of the site's own.
func TestUpstreamCertificates(t *testing.T) {
	t.Parallel()
	pair := harness.NewPair(t, "quay.io")
	u := harness.NewOpenUpstream(t, harness.WithTLS(pair, t))
	u.Push(t, "podman/hello:1", harness.Image(t, 100))
	for name, try := range map[string]struct {
		settings harness.Settings
		works    bool
	}{
		"unknown":  {u.Settings(), false},
		"ca":       {u.Settings().With("ca", "ca.pem"), true},
		"insecure": {u.Settings().With("insecureSkipVerify", true), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.Configure(t, harness.Options{})
			harness.WriteFile(t, a.Dir+"/ca.pem", string(pair.Cert))
			if try.settings["ca"] != nil {
				try.settings["ca"] = a.Dir + "/ca.pem"
			}
			harness.WriteFile(t, a.ConfigFile(), harness.ConfigFile(t, map[string]harness.Settings{"quay.io": try.settings}))
			a.Start()
			if try.works {
				a.HTTP(t).Get("/v2/quay.io/podman/hello/manifests/1")
				return
			}
			answer := a.HTTP(t).Must(http.MethodGet, "/v2/quay.io/podman/hello/manifests/1")
			require.GreaterOrEqual(t, answer.Status, 500)
			require.Contains(t, string(answer.Body), "certificate")
		})
	}
}
