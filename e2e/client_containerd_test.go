package e2e

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

// needsDaemons skips a test whose daemons can't run on this machine. Unlike
// other clients they want root, and a kernel that lets them mount.
func needsDaemons(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("SKIPPED: %s run as root alone", programs)
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed (e2e/install-tools installs it)", program)
		}
	}
}

// daemon starts a program that serves on a unix socket, and skips the test if
// it does not get so far on this machine.
func daemon(t *testing.T, socket string, program ...string) {
	t.Helper()
	dir := filepath.Dir(socket)
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	p := harness.StartProcess(t, cmd)
	t.Cleanup(func() {
		// Not killed, so that it undoes its mounts.
		p.Signal(t, syscall.SIGTERM)
		harness.Within(harness.Patience, p.Ended)
	})
	up := harness.Within(harness.Patience, func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return p.Ended()
		}
		_ = conn.Close()
		return true
	})
	if !up || p.Ended() {
		t.Skipf("SKIPPED: %s does not run on this machine:\n%s", program[0], p.Output())
	}
}

// containerd starts one with everything in directories of its own, and returns
// its socket.
func containerd(t *testing.T, dir string) string {
	t.Helper()
	config, socket := filepath.Join(dir, "containerd.toml"), filepath.Join(dir, "containerd.sock")
	harness.WriteFile(t, config, `version = 2
root = "`+filepath.Join(dir, "root")+`"
state = "`+filepath.Join(dir, "state")+`"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "`+socket+`"
`)
	daemon(t, socket, "containerd", "--config", config, "--log-level", "warn")
	return socket
}

// containerd pulls images by the names that they have upstream, by tag and by
// digest, in both ways of telling the cache which upstream it means.
func TestClientConfigContainerd(t *testing.T) {
	t.Parallel()
	needsDaemons(t, "containerd", "ctr")
	dir := harness.TempDir(t)
	socket := containerd(t, dir)
	u := harness.NewUpstream(t)
	hello := harness.Index(t, 3000)
	u.Push(t, "podman/hello:latest", hello)
	pair := harness.NewPair(t, "cache.local")
	ca := filepath.Join(dir, "ca.crt")
	harness.WriteFile(t, ca, string(pair.Cert))
	password := filepath.Join(dir, "password")
	harness.WriteFile(t, password, "pass:w0rd\n")
	login := []string{"--insecure", "--username", "puller", "--password-file", password}
	plain, secure := harness.Cache(t, u), startTLS(t, u, "tls.crt", pair)
	closed := startHtpasswd(t, u, bcrypt.MinCost, "puller", "pass:w0rd")
	for name, site := range map[string]struct {
		cache *harness.Appliance
		flags []string
	}{
		"path":            {plain, []string{"--insecure"}},
		"ns":              {plain, []string{"--insecure", "--mode", "ns"}},
		"path, CA":        {secure, []string{"--ca", ca}},
		"ns, CA":          {secure, []string{"--mode", "ns", "--ca", ca}},
		"path, login":     {closed, login},
		"ns, login":       {closed, append(login, "--mode", "ns")},
		"ns, no checking": {secure, []string{"--mode", "ns", "--insecure"}},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := filepath.Join(harness.TempDir(t), "certs.d")
			clientConfig(t, site.cache, append([]string{"containerd", "--output", hosts}, site.flags...)...)
			for _, ref := range []string{":latest", "@" + harness.Digest(t, hello)} {
				before := site.cache.Metric(t, "registry_cache_requests_total", "upstream", "quay.io")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				// Another namespace each time: one that has the blobs asks for none.
				out, err := exec.CommandContext(ctx, "ctr", "--address", socket,
					"--namespace", "n"+harness.FreePort(t), "images", "pull", "--snapshotter", "native",
					"--platform", "linux/amd64", "--hosts-dir", hosts, "quay.io/podman/hello"+ref).CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Greater(t, site.cache.Metric(t, "registry_cache_requests_total", "upstream", "quay.io"), before)
			}
		})
	}
	require.NotZero(t, u.Count(http.MethodGet, "/blobs/"))
}
