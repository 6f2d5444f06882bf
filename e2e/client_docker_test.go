package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// Docker pulls images of docker.io by their short names through the cache, by
// tag and by digest, and others by their names on the cache.
func TestClientConfigDocker(t *testing.T) {
	t.Parallel()
	needsDaemons(t, "containerd", "dockerd", "runc")
	hub := harness.NewUpstream(t)
	busybox := harness.Image(t, 3000, 4000)
	hub.Push(t, "library/busybox:1", busybox)
	hub.Push(t, "team/app:2", harness.Image(t, 5000))
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"docker.io": harness.Login},
		Upstreams: map[string]harness.Settings{"docker.io": hub.Settings()},
	})

	call := dockerd(t, clientConfig(t, a, "docker", "--insecure"))
	for _, image := range [][2]string{
		// By digest first: Docker would not ask for a manifest that it has.
		{"busybox", harness.Digest(t, busybox)}, {"busybox", "1"}, {"team/app", "2"},
		{a.Addr + "/docker.io/library/busybox", "1"},
	} {
		before := a.Metric(t, "registry_cache_requests_total", "upstream", "docker.io")
		query := url.Values{"fromImage": {image[0]}, "tag": {image[1]}}
		progress := call(http.MethodPost, "/images/create?"+query.Encode())
		// The status is sent before the pull begins: a failure is in the body.
		require.NotContains(t, progress, `"error"`, "%v", image)
		require.Greater(t, a.Metric(t, "registry_cache_requests_total", "upstream", "docker.io"), before, "%v", image)
	}
	images := call(http.MethodGet, "/images/json")
	require.Contains(t, images, "busybox:1")
	require.Contains(t, images, "busybox@"+harness.Digest(t, busybox))
	require.Contains(t, images, "team/app:2")
}

// dockerd starts one with the content of daemon.json, and returns what calls its
// API.
func dockerd(t *testing.T, config string) (call func(method, path string) string) {
	t.Helper()
	dir := harness.TempDir(t)
	file, socket := filepath.Join(dir, "daemon.json"), filepath.Join(dir, "docker.sock")
	harness.WriteFile(t, file, config)
	daemon(t, socket, "dockerd", "--config-file", file, "--host", "unix://"+socket,
		"--containerd", containerd(t, dir), "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "docker.pid"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs", "--log-level", "warn")
	docker := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	t.Cleanup(docker.CloseIdleConnections)
	return func(method, path string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://docker/v1.41"+path, nil)
		require.NoError(t, err)
		req.Header.Set("X-Registry-Auth", "e30=") // nobody; a push wants it said
		resp, err := docker.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Less(t, resp.StatusCode, http.StatusBadRequest, "%s", body)
		return string(body)
	}
}
