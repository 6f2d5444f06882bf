package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

// cacheOptions is what differs between the rows.
type cacheOptions struct {
	// upstreams is how many there are, one if 0.
	upstreams int
	// tagMaxAge is TAG_MAX_AGE.
	tagMaxAge string
	// pair is shown to clients; nil is plain HTTP.
	pair *harness.Pair
	// login is the user:password that clients must have, if any.
	login string
}

// startCache starts registry-cache before the upstream.
func startCache(b *testing.B, u *upstream, o cacheOptions) *server {
	b.Helper()
	s, a := prepareCache(b, u, o)
	launchCache(s, a)
	return s
}

// launchCache waits for what the log says, since probes would cost memory.
func launchCache(s *server, a *harness.Appliance) {
	a.Launch()
	a.WaitLog("registry-cache is ready")
	s.roots = []int{a.Pid()}
}

// prepareCache has everything ready for the start.
func prepareCache(b *testing.B, u *upstream, o cacheOptions) (*server, *harness.Appliance) {
	b.Helper()
	settings := map[string]harness.Settings{}
	for _, name := range upstreamNames(max(1, o.upstreams)) {
		settings[name] = harness.Settings{"url": u.url()}
	}
	// What the cleaner would do belongs to other rows.
	env := map[string]string{"CLEANER_MAXSIZE": "1TB", "CLEANER_MIN_FREE": "1MB", "LOG_FORMAT": "json"}
	if o.tagMaxAge != "" {
		env["TAG_MAX_AGE"] = o.tagMaxAge
	}
	if o.login != "" {
		env["REGISTRY_AUTH"], env["REGISTRY_AUTH_HTPASSWD_REALM"] = "htpasswd", "bench"
		env["REGISTRY_AUTH_HTPASSWD_PATH"] = "{dir}/htpasswd"
	}
	a := harness.Configure(b, harness.Options{
		Upstreams: settings, Env: env,
		Prepare: func(dir string) {
			if o.pair != nil {
				writeTLS(b, filepath.Join(dir, "certs"), o.pair)
			}
			if o.login != "" {
				harness.WriteFile(b, filepath.Join(dir, "htpasswd"), htpasswd(b, o.login))
			}
		},
	})
	s := &server{
		name: ours, addr: a.Addr, prefix: upstreamName + "/", login: o.login,
		probes: []string{"http://" + a.MetricsAddr + "/readyz", "http://" + a.MetricsAddr + "/metrics"},
		stop: func() {
			a.Stop()
			require.NoError(b, os.RemoveAll(a.Store()))
		},
	}
	if o.pair != nil {
		s.tls = clientTLS(o.pair)
	}
	return s, a
}

// htpasswd is the file for one user, with the cost that htpasswd -B has.
func htpasswd(b *testing.B, login string) string {
	b.Helper()
	user, password, _ := strings.Cut(login, ":")
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	require.NoError(b, err)
	return user + ":" + string(hash) + "\n"
}
