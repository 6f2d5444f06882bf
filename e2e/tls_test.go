package e2e

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// certFiles are the three forms that CERTSDIR may have.
func certFiles(t *testing.T, dir, form string, pair harness.Pair) {
	t.Helper()
	switch form {
	case "certs.pem":
		harness.WriteFile(t, filepath.Join(dir, "certs.pem"), string(pair.Key)+string(pair.Cert))
	case "tls.crt":
		harness.WriteFile(t, filepath.Join(dir, "tls.key"), string(pair.Key))
		harness.WriteFile(t, filepath.Join(dir, "tls.crt"), string(pair.Cert))
	case "domain.crt":
		harness.WriteFile(t, filepath.Join(dir, "domain.key"), string(pair.Key))
		harness.WriteFile(t, filepath.Join(dir, "domain.crt"), string(pair.Cert))
	}
}

func startTLS(t *testing.T, u *harness.Upstream, form string, pair harness.Pair) *harness.Appliance {
	t.Helper()
	return harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Prepare:   func(dir string) { certFiles(t, filepath.Join(dir, "certs"), form, pair) },
	})
}

func TestTLSForms(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	for _, form := range []string{"certs.pem", "tls.crt", "domain.crt"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			pair := harness.NewPair(t, "cache.local")
			a := startTLS(t, u, form, pair)
			trust := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(trust, "ca.crt"), pair.Cert, 0o600))
			image := a.Addr + "/quay.io/podman/hello:latest"
			skopeo, podman := harness.Skopeo(t), harness.Podman(t)
			skopeo.Copy(image, "--src-cert-dir", trust)
			podman.Must("pull", "--quiet", "--cert-dir", trust, image)

			out, err := skopeo.Do("inspect", "docker://"+image)
			require.Error(t, err, "an unknown certificate must be refused")
			require.Contains(t, out, "certificate")
			plain, err := a.HTTP(t).Do("GET", "/v2/")
			require.True(t, err != nil || plain.Status == 400, "plain HTTP on the TLS port")
		})
	}
}

// A renewed certificate is shown to new connections, without a restart and
// without touching those that are open.
func TestCertificateIsSwappedInPlace(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	first, second := harness.NewPair(t, "cache.local"), harness.NewPair(t, "cache.local")
	a := startTLS(t, u, "tls.crt", first)
	before := a.Children()
	open := a.HTTPS(t, first.Client())
	open.Get("/v2/quay.io/podman/hello/manifests/latest")

	shows := func(pair harness.Pair) bool {
		conn, err := tls.Dial("tcp", a.Addr, pair.Client())
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	// Between the two files the pair does not fit: that changes nothing.
	harness.WriteFile(t, filepath.Join(a.Certs(), "tls.key"), string(second.Key))
	a.WaitLog("tls.key")
	require.True(t, shows(first))
	harness.WriteFile(t, filepath.Join(a.Certs(), "tls.crt"), string(second.Cert))
	harness.Eventually(t, func() bool { return shows(second) }, "the new certificate is shown")
	require.False(t, shows(first))
	open.Get("/v2/quay.io/podman/hello/manifests/latest")
	require.Equal(t, before, a.Children(), "no process was restarted")
}
