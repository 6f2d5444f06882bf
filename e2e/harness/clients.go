package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// containersConf keeps podman away from what a test machine may lack: high
// limits, systemd, journald.
const containersConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`

// clientTimeout is how long one command of a client may take.
const clientTimeout = 3 * time.Minute

// Require skips the test, by name, when a program is missing; where CI=true
// that is a failure.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				require.FailNow(t, program+" is not installed")
			}
			t.Skipf("SKIPPED: %s is not installed (e2e/install-tools installs it)", program)
		}
	}
}

// Client is one of podman, buildah and skopeo with storage of its own.
type Client struct {
	// Dir holds its storage and configuration.
	Dir string

	t       testing.TB
	program string
	global  []string
	env     []string
}

// Podman is podman, with nothing pulled yet.
func Podman(t testing.TB) *Client {
	c := newClient(t, "podman")
	c.global = append(c.global, "--tmpdir", filepath.Join(c.Dir, "tmp"))
	c.needsStorage()
	return c
}

// Buildah is buildah, with nothing pulled yet.
func Buildah(t testing.TB) *Client {
	c := newClient(t, "buildah")
	c.needsStorage()
	return c
}

// For is the same client, whose failures are those of another test.
func (c *Client) For(t testing.TB) *Client {
	other := *c
	other.t = t
	return &other
}

// needsStorage skips the test for an ordinary user without the sub-ids that
// storage of images takes.
func (c *Client) needsStorage() {
	if os.Getuid() == 0 {
		return
	}
	if out, err := c.Do("images"); err != nil {
		c.t.Skipf("SKIPPED: %s does not work for this user: %s", c.program, out)
	}
}

// Skopeo is skopeo.
func Skopeo(t testing.TB) *Client {
	c := newClient(t, "skopeo")
	c.global = nil
	return c
}

func newClient(t testing.TB, program string) *Client {
	t.Helper()
	Require(t, program)
	dir := TempDir(t)
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	file(".config/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	return &Client{
		Dir: dir, t: t, program: program,
		global: []string{
			"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "runroot"),
			"--storage-driver", "vfs",
		},
		env: []string{
			"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + dir, "TMPDIR=" + dir,
			"XDG_RUNTIME_DIR=" + dir, "CONTAINERS_CONF=" + file("containers.conf", containersConf),
			"CONTAINERS_REGISTRIES_CONF=" + file("registries.conf", ""),
			"REGISTRY_AUTH_FILE=" + file("auth.json", "{}"),
		},
	}
}

// Do runs a command and returns what it printed, errors included.
func (c *Client) Do(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, append(append([]string{}, c.global...), args...)...)
	// Not c.Dir itself: podman play kube builds an image when a directory of
	// its name lies in the working directory.
	cmd.Env, cmd.Dir = c.env, "/"
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Must is Do that may not fail.
func (c *Client) Must(args ...string) string {
	c.t.Helper()
	out, err := c.Do(args...)
	require.NoError(c.t, err, "%s %s:\n%s", c.program, strings.Join(args, " "), out)
	return out
}

// Pull pulls an image by its whole name, without its trace in the storage
// from an earlier pull.
func (c *Client) Pull(image string) {
	c.t.Helper()
	_, _ = c.Do("rmi", "--force", image)
	c.Must("pull", "--quiet", "--tls-verify=false", image)
}

// Copy has skopeo fetch an image into a new directory, whose path it returns.
func (c *Client) Copy(image string, flags ...string) string {
	c.t.Helper()
	dir, err := os.MkdirTemp(c.Dir, "copy")
	require.NoError(c.t, err)
	args := append([]string{"copy", "--quiet"}, flags...)
	c.Must(append(args, "docker://"+image, "dir:"+dir)...)
	return dir
}
