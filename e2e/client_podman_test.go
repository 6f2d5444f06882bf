package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

// clientConfig runs client-config for clients of the appliance, and returns
// what it prints.
func clientConfig(t *testing.T, a *harness.Appliance, args ...string) string {
	t.Helper()
	cmd := a.Command(append([]string{"client-config", "--host", a.Addr}, args...)...)
	out, err := cmd.Output()
	require.NoError(t, err, "%s", cmd)
	return string(out)
}

// podman pulls images by the names that they have upstream, by tag and by
// digest, through the file as it stands alone and as a drop-in.
func TestClientConfigPodman(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello := harness.Image(t, 3000, 4000)
	u.Push(t, "podman/hello:latest", hello)
	a := harness.Cache(t, u)
	layer, _ := harness.Layer(t, hello, 0)
	for name, place := range map[string]string{
		"registries.conf": "registries.conf",
		"drop-in":         ".config/containers/registries.conf.d/50-registry-cache.conf",
	} {
		t.Run(name, func(t *testing.T) {
			podman := harness.Podman(t)
			args := []string{"registries.conf", "--insecure"}
			if name == "drop-in" {
				args = append(args, "--drop-in", "--output", filepath.Join(podman.Dir, filepath.Dir(place)))
			}
			printed := clientConfig(t, a, args...)
			if name != "drop-in" {
				harness.WriteFile(t, filepath.Join(podman.Dir, place), printed)
			}
			require.FileExists(t, filepath.Join(podman.Dir, place))
			podman.Must("pull", "--quiet", "quay.io/podman/hello:latest")
			podman.Must("rmi", "--force", "quay.io/podman/hello:latest")
			podman.Must("pull", "--quiet", "quay.io/podman/hello@"+harness.Digest(t, hello))
			// The cache itself needs no flag either.
			podman.Must("pull", "--quiet", a.Addr+"/quay.io/podman/hello:latest")
		})
	}
	require.Equal(t, 1, u.Count(http.MethodGet, "/blobs/"+layer), "all came through the cache")
}

// A cache with TLS and passwords: the CA and the login come from client-config.
func TestClientConfigTrustAndLogin(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	pair := harness.NewPair(t, "cache.local")
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env: map[string]string{
			"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "cache",
			"REGISTRY_AUTH_HTPASSWD_PATH": "{dir}/htpasswd",
		},
		Prepare: func(dir string) {
			harness.WriteFile(t, filepath.Join(dir, "htpasswd"), htpasswd(t, bcrypt.MinCost, "puller", "pass:w0rd"))
			certFiles(t, filepath.Join(dir, "certs"), "tls.crt", pair)
		},
	})
	const image = "quay.io/podman/hello:latest"
	podman := harness.Podman(t)
	harness.WriteFile(t, filepath.Join(podman.Dir, "registries.conf"), clientConfig(t, a, "registries.conf"))
	_, err := podman.Do("pull", "--quiet", image)
	require.Error(t, err, "neither trust nor a login yet")

	clientConfig(t, a, "ca", "--output", filepath.Join(podman.Dir, ".config", "containers"))
	_, err = podman.Do("pull", "--quiet", image)
	require.Error(t, err, "no login yet")

	auth := filepath.Join(podman.Dir, "auth.json") // podman's auth file, which has nothing yet
	cmd := a.Command("client-config", "pull-secret", "--host", a.Addr, "--username", "puller", "--password-stdin", "--merge", auth)
	cmd.Stdin = strings.NewReader("pass:w0rd\n")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(auth, out, 0o600))
	podman.Must("pull", "--quiet", image)

	// What it would write for nodes of a cluster is the same trust.
	require.Contains(t, clientConfig(t, a, "ca", "--only", "configmap.yaml"),
		strings.Replace(a.Addr, ":", "..", 1)+": |")
}
