package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// The image is built from the Containerfile as it is and run as a site would.
func TestContainerImage(t *testing.T) {
	t.Parallel()
	podman := harness.Podman(t)
	image := podman.BuildImage()
	t.Run("contents", func(t *testing.T) { testImageContents(t, podman.For(t), image) })

	network := podman.ContainerNetwork(t, image)
	u := harness.NewUpstream(t, harness.OnAddress(network.HostIP))
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000, 4000))
	c := &containerSite{podman: podman, image: image, network: network, upstream: u}
	for name, flags := range map[string][]string{
		"as it comes": nil,
		"read-only":   {"--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"},
		// As OpenShift runs it.
		"arbitrary user": {
			"--user=12345:0", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
			"--volume=any-store:/var/lib/registry", "--volume=any-run:/run/registry-cache",
		},
	} {
		t.Run(name, func(t *testing.T) { c.testRun(t, flags) })
	}
	t.Run("play kube", c.testPlayKube)
}

func testImageContents(t *testing.T, podman *harness.Client, image string) {
	inspect := func(format string) string {
		return strings.TrimSpace(podman.Must("image", "inspect", "--format", format, image))
	}
	require.Equal(t, "1001:0", inspect("{{.User}}"))
	require.Equal(t, "[/registry-cache]", inspect("{{.Config.Entrypoint}}"))
	require.Contains(t, inspect("{{json .Config.ExposedPorts}}"), "8443/tcp")
	require.Contains(t, inspect("{{json .Config.ExposedPorts}}"), "9090/tcp")
	require.Contains(t, inspect("{{json .Config.Volumes}}"), "/var/lib/registry")
	require.Contains(t, inspect("{{json .Labels}}"), "1.2.3-e2e")
	require.Contains(t, inspect("{{json .HealthCheck}}"), "healthcheck")

	require.Contains(t, podman.Must("run", "--rm", "--network=none", image, "version"), "1.2.3-e2e")
	name := strings.TrimSpace(podman.Must("create", "--network=none", image))
	defer podman.Must("rm", name)
	tree := filepath.Join(podman.Dir, "image.tar")
	podman.Must("export", "--output", tree, name)
	files := harness.TarFiles(t, tree)
	require.Contains(t, files, "etc/ssl/certs/ca-certificates.crt")
	for file := range files {
		require.False(t, strings.HasPrefix(file, "bin/") || strings.HasPrefix(file, "usr/"), "%s: the base is empty", file)
	}
	for _, dir := range []string{"var/lib/registry", "run/registry-cache"} {
		require.Equal(t, 0, files[dir].Gid, dir)
		require.EqualValues(t, 0o775, files[dir].Mode&0o777, "%s: group 0 may write", dir)
	}
}

type containerSite struct {
	podman   *harness.Client
	image    string
	network  harness.Network
	upstream *harness.Upstream
}

// testRun is the README's podman run, with some more flags.
func (s *containerSite) testRun(t *testing.T, flags []string) {
	podman := s.podman.For(t)
	dir := harness.TempDir(t)
	secret, config := filepath.Join(dir, "pull-secret.json"), filepath.Join(dir, "config.yaml")
	harness.WriteFile(t, secret, harness.PullSecret(t, map[string]string{"quay.io": harness.Login}))
	harness.WriteFile(t, config, harness.ConfigFile(t, map[string]harness.Settings{"quay.io": s.upstream.Settings()}))
	for _, path := range []string{dir, secret, config} {
		require.NoError(t, os.Chmod(path, 0o755)) // the container's user is not this one
	}
	addr, metrics := "127.0.0.1:"+harness.FreePort(t), "127.0.0.1:"+harness.FreePort(t)
	args := []string{
		"run", "--detach", "--volume", secret + ":/pull-secret.json:ro", "--volume", config + ":/etc/registry-cache/config.yaml:ro",
	}
	if s.network.Bridge {
		args = append(args, "--publish", addr+":8443", "--publish", metrics+":9090")
	} else {
		args = append(args, "--network=host", "--env=LISTEN_ADDR="+addr, "--env=METRICS_ADDR="+metrics)
	}
	out := strings.Fields(podman.Must(append(append(args, flags...), s.image)...))
	name := out[len(out)-1]
	defer func() {
		if t.Failed() {
			t.Log(podman.Do("logs", name))
		}
		podman.Must("rm", "--force", "--volumes", name)
	}()

	harness.Eventually(t, func() bool {
		resp, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, "the container is ready")
	podman.Must("healthcheck", "run", name)
	harness.Podman(t).Pull(addr + "/quay.io/podman/hello:latest")
	require.Contains(t, podman.Must("top", name, "args"), "registry-cache worker quay.io")
	require.NotContains(t, podman.Must("top", name, "user"), "root")
	_, err := podman.Do("exec", name, "/bin/sh", "-c", "true")
	require.Error(t, err, "there is no shell")

	podman.Must("stop", "--time=40", name)
	require.Equal(t, "0", strings.TrimSpace(podman.Must("inspect", "--format", "{{.State.ExitCode}}", name)))
}
