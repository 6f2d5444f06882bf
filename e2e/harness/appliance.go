package harness

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"registrycache/images"
)

// Options is how an appliance is configured.
type Options struct {
	// Logins become the pull secret: key to user:password, or to nothing for
	// an entry without credentials.
	Logins map[string]string
	// Upstreams become CONFIG_FILE.
	Upstreams map[string]Settings
	// Env are further variables; {dir} stands for the appliance's directory.
	Env map[string]string
	// Prepare runs before the first start, with the appliance's directory.
	Prepare func(dir string)
}

// Appliance is registry-cache, started as a site would start it.
type Appliance struct {
	*Process
	// Dir holds all that belongs to it.
	Dir string
	// Addr and MetricsAddr are host:port.
	Addr, MetricsAddr string

	t   testing.TB
	env []string
}

// PullSecret is the path of the pull secret.
func (a *Appliance) PullSecret() string { return filepath.Join(a.Dir, "pull-secret.json") }

// ConfigFile is the path of CONFIG_FILE.
func (a *Appliance) ConfigFile() string { return filepath.Join(a.Dir, "config.yaml") }

// Store is REGISTRYDIR.
func (a *Appliance) Store() string { return filepath.Join(a.Dir, "store") }

// RunDir is RUNDIR.
func (a *Appliance) RunDir() string { return filepath.Join(a.Dir, "run") }

// Certs is CERTSDIR.
func (a *Appliance) Certs() string { return filepath.Join(a.Dir, "certs") }

// AccessLog is the path of the access log.
func (a *Appliance) AccessLog() string { return filepath.Join(a.RunDir(), "log", "access.log") }

// WaitStored waits until a blob is in the store: its last byte goes out a
// little earlier.
func (a *Appliance) WaitStored(t testing.TB, blob string) {
	t.Helper()
	store, err := images.Open(a.Store())
	require.NoError(t, err)
	Eventually(t, func() bool {
		_, err := store.StatBlob(digest.Digest(blob))
		return err == nil
	}, "%s is stored", blob)
}

// Cache is an appliance that caches the upstream as quay.io, and is ready.
func Cache(t testing.TB, u *Upstream) *Appliance {
	t.Helper()
	return Start(t, Options{
		Logins:    map[string]string{"quay.io": Login},
		Upstreams: map[string]Settings{"quay.io": u.Settings()},
	})
}

// Start starts an appliance and waits until it is ready.
func Start(t testing.TB, o Options) *Appliance {
	t.Helper()
	a := Configure(t, o)
	a.Start()
	return a
}

// Configure prepares an appliance without starting it.
func Configure(t testing.TB, o Options) *Appliance {
	t.Helper()
	dir := TempDir(t)
	a := &Appliance{
		Dir: dir, t: t,
		Addr: "127.0.0.1:" + FreePort(t), MetricsAddr: "127.0.0.1:" + FreePort(t),
	}
	require.NoError(t, os.Mkdir(a.Certs(), 0o755))
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": dir, "CONFIG_FILE": a.ConfigFile(),
		"REGISTRYDIR": a.Store(), "RUNDIR": a.RunDir(), "CERTSDIR": a.Certs(),
		"LISTEN_ADDR": a.Addr, "METRICS_ADDR": a.MetricsAddr,
		"PULLSECRETPATH": a.PullSecret(),
	}
	WriteFile(t, a.PullSecret(), PullSecret(t, o.Logins))
	WriteFile(t, a.ConfigFile(), ConfigFile(t, o.Upstreams))
	maps.Copy(env, o.Env)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		a.env = append(a.env, key+"="+strings.ReplaceAll(env[key], "{dir}", dir))
	}
	if o.Prepare != nil {
		o.Prepare(dir)
	}
	return a
}

// PullSecret renders a Kubernetes/Docker auth file.
func PullSecret(t testing.TB, logins map[string]string) string {
	t.Helper()
	auths := map[string]any{}
	for key, login := range logins {
		auths[key] = map[string]string{}
		if login != "" {
			auths[key] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(login))}
		}
	}
	raw, err := json.Marshal(map[string]any{"auths": auths})
	require.NoError(t, err)
	return string(raw)
}

// ConfigFile renders CONFIG_FILE.
func ConfigFile(t testing.TB, upstreams map[string]Settings) string {
	t.Helper()
	raw, err := yaml.Marshal(map[string]any{"upstreams": upstreams})
	require.NoError(t, err)
	return string(raw)
}

// Command is the binary with the appliance's environment.
func (a *Appliance) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(Binary, args...)
	cmd.Env, cmd.Dir = a.env, a.Dir
	return cmd
}

// Launch starts the process and does not wait.
func (a *Appliance) Launch() {
	a.t.Helper()
	a.Process = StartProcess(a.t, a.Command("serve"))
	a.t.Cleanup(a.end)
}

// Start starts the process and waits until it is ready.
func (a *Appliance) Start() {
	a.t.Helper()
	a.Launch()
	a.WaitReady()
}

// WaitReady waits for /readyz.
func (a *Appliance) WaitReady() {
	a.t.Helper()
	Eventually(a.t, func() bool {
		require.False(a.t, a.Ended(), "the appliance ended:\n%s", a.Output())
		resp, err := http.Get("http://" + a.MetricsAddr + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, "ready:\n%s", deferred(a.Output))
}

// end stops the appliance at the end of a test, and shows its log if the test
// failed.
func (a *Appliance) end() {
	if !a.Ended() {
		a.Signal(a.t, syscall.SIGTERM)
		if !Within(Patience+Patience/2, a.Ended) {
			a.t.Errorf("the appliance does not end on SIGTERM")
		}
	}
	if a.t.Failed() {
		a.t.Logf("log of the appliance in %s:\n%s", a.Dir, a.Output())
	}
}

// Stop ends the appliance as an init system does, and expects exit code 0.
func (a *Appliance) Stop() {
	a.t.Helper()
	a.Signal(a.t, syscall.SIGTERM)
	require.Equal(a.t, 0, a.Wait(a.t), "exit code after SIGTERM:\n%s", deferred(a.Output))
}

// Restart stops and starts it.
func (a *Appliance) Restart() {
	a.t.Helper()
	a.Stop()
	a.Start()
}

// WaitLog waits until the log has a line with all the given parts.
func (a *Appliance) WaitLog(parts ...string) string {
	a.t.Helper()
	var found string
	Eventually(a.t, func() bool {
		found = a.LogLine(parts...)
		return found != ""
	}, "a log line with %q:\n%s", parts, deferred(a.Output))
	return found
}

// LogLine returns the last line of the log with all the given parts, or "".
func (a *Appliance) LogLine(parts ...string) string {
	found := ""
	for line := range strings.Lines(a.Output()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			found = line
		}
	}
	return found
}

// deferred is text that is made when it is printed.
type deferred func() string

func (d deferred) String() string { return d() }
