package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// defaultUpstreams are cached when nothing is configured.
var defaultUpstreams = []string{
	"docker.io", "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io", "mcr.microsoft.com", "public.ecr.aws",
	"registry.access.redhat.com",
}

// firstRun waits for a cache without any configuration and checks what it
// tells the person who started it.
func firstRun(t *testing.T, cmd *exec.Cmd, addr, dir string) *harness.Process {
	t.Helper()
	process := harness.StartProcess(t, cmd)
	harness.Eventually(t, func() bool {
		require.False(t, process.Ended(), "%s", process.Output())
		return strings.Contains(process.Output(), "is ready")
	}, "it says that it is ready")
	out := process.Output()
	_, port, _ := strings.Cut(addr, ":")
	require.Contains(t, out, "http://localhost:"+port)
	require.Contains(t, out, "podman pull --tls-verify=false localhost:"+port+"/quay.io/podman/hello:latest")
	require.Contains(t, out, dir)
	require.Contains(t, out, "10 GB")
	for _, name := range defaultUpstreams {
		require.Contains(t, out, name)
	}
	return process
}

// environment configures nothing but where things are, so that any number of
// tests can run beside each other.
func environment(dir, addr, metrics string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LOG_FORMAT=console",
		"REGISTRYDIR=" + dir, "RUNDIR=" + filepath.Join(dir, "run"), "LISTEN_ADDR=" + addr, "METRICS_ADDR=" + metrics,
	}
}

// The README's first command, from a checkout.
func TestMakeRun(t *testing.T) {
	t.Parallel()
	harness.Require(t, "make")
	root, err := harness.ModuleRoot()
	require.NoError(t, err)
	dir, addr := harness.TempDir(t), "127.0.0.1:"+harness.FreePort(t)
	cmd := exec.Command("make", "--no-print-directory", "run")
	cmd.Dir = root
	cmd.Env = append(environment(dir, addr, "127.0.0.1:"+harness.FreePort(t)), "GOFLAGS="+os.Getenv("GOFLAGS"))
	// Ctrl-C in a terminal goes to make and all its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process := firstRun(t, cmd, addr, dir)
	t.Cleanup(func() {
		if !process.Ended() {
			_ = syscall.Kill(-process.Pid(), syscall.SIGKILL)
		}
	})
	require.NoError(t, syscall.Kill(-process.Pid(), syscall.SIGINT))
	process.Wait(t)
	require.Contains(t, process.Output(), "stopped")
}

// Nothing of it needs root.
func TestRunsAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("the other tests show it: this is no root")
	}
	const nobody = 65534
	dir, addr := harness.TempDir(t), "127.0.0.1:"+harness.FreePort(t)
	require.NoError(t, os.Chown(dir, nobody, nobody))
	cmd := exec.Command(harness.Binary)
	cmd.Dir = dir
	cmd.Env = environment(dir, addr, "127.0.0.1:"+harness.FreePort(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	process := firstRun(t, cmd, addr, dir)
	process.Signal(t, syscall.SIGTERM)
	require.Equal(t, 0, process.Wait(t))
}
