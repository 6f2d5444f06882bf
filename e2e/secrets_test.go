package e2e

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

// forms are the ways in which a login may show up.
func forms(login string) []string {
	_, password, _ := strings.Cut(login, ":")
	return []string{password, base64.StdEncoding.EncodeToString([]byte(login)), base64.RawURLEncoding.EncodeToString([]byte(login))}
}

// No secret is where somebody else could read it: not the upstreams'
// passwords and tokens, not the clients' passwords, not the TLS key.
func TestSecretsAreNowhereToBeRead(t *testing.T) {
	t.Parallel()
	const client, wrong = "puller:client-s3cret", "mallory:mallory-s3cret"
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "client-s3cret")
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false", "--src-creds", client)

	// Errors are where secrets like to come out.
	c := a.HTTP(t)
	c.As("mallory", "mallory-s3cret").Must(http.MethodGet, manifestPath)
	c.With("Authorization", "Bearer "+forms(wrong)[1]).Must(http.MethodGet, manifestPath)
	user, password, _ := strings.Cut(client, ":")
	u.Tokens.RemoveUser("robot")
	c.As(user, password).Must(http.MethodGet, "/v2/quay.io/podman/other/manifests/1")
	u.Tokens.Stop()
	u.Stop()
	c.As(user, password).Must(http.MethodGet, "/v2/quay.io/podman/more/manifests/1")
	broken := harness.PullSecret(t, map[string]string{"quay.io": harness.Login, "user:" + forms(harness.Login)[0] + "@bad key": harness.Login})
	harness.WriteFile(t, a.PullSecret(), broken)
	a.WaitLog("pull-secret.json")
	harness.Eventually(t, func() bool {
		logged, _ := os.ReadFile(a.AccessLog())
		return strings.Contains(string(logged), "podman/more")
	}, "the last request is in the access log")
	metrics := string(a.Metrics(t).Get("/metrics").Body) + string(a.Metrics(t).Get("/readyz").Body)

	var secrets []string
	for _, login := range []string{harness.Login, client, wrong} {
		secrets = append(secrets, forms(login)...)
	}
	secrets = append(secrets, u.Tokens.Issued()...)
	places := map[string]string{"log": a.Output(), "metrics": metrics}
	for _, p := range harness.Procs() {
		if p.Pid != a.Pid() && p.Parent != a.Pid() {
			continue
		}
		for _, name := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid, name))
			require.NoError(t, err)
			places[p.Cmdline+" "+name] = string(content)
		}
	}
	for _, dir := range []string{a.RunDir(), a.Store()} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			places[path] = string(content)
			return err
		}))
	}
	require.Contains(t, places[a.AccessLog()], "podman/more", "the access log was looked at")
	require.NotEmpty(t, u.Tokens.Issued())
	for place, content := range places {
		for _, secret := range secrets {
			require.NotContains(t, content, secret, place)
		}
	}
}

// Each worker is told its own upstream's credentials and no other's, the other
// processes none.
func TestEachProcessHoldsItsOwnSecretsOnly(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root may look into the memory of processes")
	}
	const quay, redhat = "quay-pass-1f0c9b", "redhat-pass-77aa1e"
	a := harness.Start(t, harness.Options{
		Logins: map[string]string{"quay.io": "robot:" + quay, "registry.redhat.io": "robot:" + redhat},
		Env: map[string]string{
			"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "cache",
			"REGISTRY_AUTH_HTPASSWD_PATH": "{dir}/htpasswd",
		},
		Prepare: func(dir string) {
			harness.WriteFile(t, filepath.Join(dir, "htpasswd"), htpasswd(t, bcrypt.MinCost, "puller", "any"))
		},
	})
	hash, err := os.ReadFile(filepath.Join(a.Dir, "htpasswd"))
	require.NoError(t, err)
	_, known, _ := strings.Cut(strings.TrimSpace(string(hash)), ":")
	holders := map[string]map[string]bool{
		quay:   {quayWorker: true},
		redhat: {redhatWorker: true},
		known:  {"registry-cache router": true},
	}
	for cmdline, pid := range a.Children() {
		for secret, who := range holders {
			require.Equal(t, who[cmdline], harness.MemoryHas(t, pid, secret), "%s holds %s", cmdline, secret)
		}
	}
}
