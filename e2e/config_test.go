package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// refused runs a command that must end with the exit code for a bad
// configuration, and returns what it printed.
func refused(t *testing.T, a *harness.Appliance, args ...string) string {
	t.Helper()
	out, err := a.Command(args...).CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v: %s", err, out)
	require.Equal(t, 2, exit.ExitCode(), "%s", out)
	return string(out)
}

// Everything that is wrong is said in one go.
func TestAllMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	a := harness.Configure(t, harness.Options{Env: map[string]string{
		"CLEANER_MAXSIZE": "10 elephants", "CLEANER_RUNEVERY_TIME": "often", "CLEANER_THRESHOLD_PERCENTAGE": "200x",
		"TAG_STALE_IF_ERROR": "sometimes", "LISTEN_ADDR": "nowhere", "OFFLINE": "perhaps", "LOG_LEVEL": "loud",
		"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH": "/does/not/exist", "CLEANER_MAXSISE": "1G",
	}})
	harness.WriteFile(t, a.PullSecret(), `{"auths": {"quay.io": {"auth": "%%%"}, "ghcr.io": {"auth": "bm9jb2xvbg=="}, "/path/only": {}}}`)
	harness.WriteFile(t, a.ConfigFile(), "upstreams:\n  quay.io:\n    alias: [q]\n    tagMaxAge: soon\n  ghcr.io:\n    aliases: [x]\n  gcr.io:\n    aliases: [x]\n")
	harness.WriteFile(t, a.Certs()+"/tls.crt", "no certificate")
	for _, command := range []string{"serve", "check"} {
		out := refused(t, a, command)
		for _, want := range []string{
			"CLEANER_MAXSIZE", "elephants", "CLEANER_RUNEVERY_TIME", "CLEANER_THRESHOLD_PERCENTAGE",
			"TAG_STALE_IF_ERROR", "LISTEN_ADDR", "OFFLINE", "LOG_LEVEL", "/does/not/exist", "CLEANER_MAXSISE",
			"base64", "colon", "path/only", "config.yaml:3", "alias", "soon", "x is a name of", "tls.key", "mistakes",
		} {
			require.Contains(t, out, want)
		}
	}
}

func TestBadPullSecrets(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct{ content, want string }{
		"empty":               {"", "empty"},
		"not JSON":            {"auths:\n  quay.io: {}\n", "JSON"},
		"a list":              {"[]", "object"},
		"auths missing":       {"{}", "auths is missing"},
		"unknown key":         {`{"auths": {}, "auhts": {}}`, "auhts"},
		"not base64":          {`{"auths": {"quay.io": {"auth": "%%%"}}}`, "base64"},
		"no colon":            {`{"auths": {"quay.io": {"auth": "bm9jb2xvbg=="}}}`, "colon"},
		"unknown field":       {`{"auths": {"quay.io": {"atuh": "dTpw"}}}`, "atuh"},
		"path only":           {`{"auths": {"/podman/hello": {"auth": "dTpw"}}}`, "host"},
		"not a host":          {`{"auths": {"podman hello": {"auth": "dTpw"}}}`, "host"},
		"the same host twice": {`{"auths": {"quay.io": {"auth": "dTpw"}, "quay.io": {"auth": "dTpw"}}}`, "more than once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.Configure(t, harness.Options{})
			harness.WriteFile(t, a.PullSecret(), try.content)
			out := refused(t, a, "serve")
			require.Contains(t, out, try.want)
			require.Contains(t, out, "pull-secret.json")
			require.NotContains(t, out, "dTpw")
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		a := harness.Configure(t, harness.Options{Env: map[string]string{"PULLSECRETPATH": "/does/not/exist.json"}})
		require.Contains(t, refused(t, a, "serve"), "/does/not/exist.json")
	})
}

func TestBadConfigFiles(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct{ content, want string }{
		"unknown key":      {"upstream: {}\n", "upstream"},
		"not YAML":         {"upstreams: [\n", "config.yaml"},
		"alias twice":      {"upstreams: {quay.io: {aliases: [q]}, gcr.io: {aliases: [q]}}\n", "q is a name of"},
		"alias is a host":  {"upstreams: {quay.io: {aliases: [gcr.io]}, gcr.io: {}}\n", "gcr.io"},
		"bad size":         {"upstreams: {quay.io: {maxSize: 5 cows}}\n", "5 cows"},
		"bad address":      {"upstreams: {quay.io: {url: 'ftp://x'}}\n", "https://host"},
		"unreadable CA":    {"upstreams: {quay.io: {ca: /does/not/exist.pem}}\n", "/does/not/exist.pem"},
		"bad pattern":      {"upstreams: {quay.io: {repositories: ['[']}}\n", "["},
		"two on one path":  {"upstreams: {'lab:5000': {}, lab_5000: {}}\n", "lab_5000"},
		"wrong kind value": {"upstreams: {quay.io: {insecureSkipVerify: perhaps}}\n", "true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.Configure(t, harness.Options{})
			harness.WriteFile(t, a.ConfigFile(), try.content)
			require.Contains(t, refused(t, a, "serve"), try.want)
		})
	}
}

// check says what would run, and whether each credential works.
func TestCheck(t *testing.T) {
	t.Parallel()
	u, down := harness.NewUpstream(t), harness.NewUpstream(t)
	down.Stop()
	settings := map[string]harness.Settings{
		"quay.io": u.Settings().With("aliases", []string{"q"}), "wrong.example": u.Settings(), "down.example": down.Settings(),
	}
	a := harness.Configure(t, harness.Options{
		Logins: map[string]string{
			"quay.io": harness.Login, "wrong.example": "robot:wr0ngpass", "down.example": "robot:d0wnpass",
		},
		Upstreams: settings,
	})
	out, err := a.Command("check").CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v: %s", err, out)
	require.Equal(t, 1, exit.ExitCode(), "%s", out)
	row := func(name string) string {
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, name+" ") {
				return strings.TrimSpace(line)
			}
		}
		t.Fatalf("no row %s in\n%s", name, out)
		return ""
	}
	require.True(t, strings.HasSuffix(row("quay.io"), "ok"), "%s", out)
	require.Contains(t, row("quay.io"), "quay.io, q")
	require.Contains(t, row("wrong.example"), "FAILED")
	require.Contains(t, row("wrong.example"), "401")
	require.Contains(t, row("down.example"), "connection refused")
	for _, password := range []string{"pass:w0rd", "wr0ngpass", "d0wnpass"} {
		require.NotContains(t, string(out), password)
	}

	a = harness.Configure(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
	})
	out, err = a.Command("check", "--json").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), `"ok":true`)
}

// What the ancestor of this cache was configured with is accepted.
func TestIgnoredVariablesAreNoticed(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login, "cloud.openshift.com": "token:abc"},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"INITIALPORT": "5000", "CLEANER_BTWDELETES_TIME": "1s"},
	})
	a.WaitLog("INITIALPORT", "no effect")
	a.WaitLog("CLEANER_BTWDELETES_TIME", "no effect")
	require.NotContains(t, a.Children(), "registry-cache worker cloud.openshift.com")
}

// Two caches in one run directory would take each other's sockets.
func TestSecondCacheInOneRunDirectory(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	out, err := a.Command("serve").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "in use")
	require.Contains(t, a.Children(), quayWorker)
}
