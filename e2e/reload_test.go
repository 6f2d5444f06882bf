package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

const quayWorker, redhatWorker = "registry-cache worker quay.io", "registry-cache worker registry.redhat.io"

// changed is the table of processes with some added, some gone.
func changed(before map[string]int, gone ...string) map[string]int {
	after := maps.Clone(before)
	for _, cmdline := range gone {
		delete(after, cmdline)
	}
	return after
}

// A host added to the pull secret gets its worker, one removed loses it, and
// the others go on undisturbed; the file may be replaced or written in place.
func TestPullSecretReload(t *testing.T) {
	t.Parallel()
	a := harness.Start(t, harness.Options{Logins: map[string]string{
		"quay.io": harness.Login, "registry.redhat.io": "user:password",
	}})
	before := a.Children()
	require.Contains(t, before, redhatWorker)

	secret := harness.PullSecret(t, map[string]string{"quay.io": harness.Login, "ghcr.io": "user:password"})
	harness.WriteFile(t, a.PullSecret(), secret)
	ghcr := a.Child(t, "registry-cache worker ghcr.io")
	harness.Eventually(t, func() bool { return a.Children()[redhatWorker] == 0 }, "the removed host's worker ends")
	want := changed(before, redhatWorker)
	want["registry-cache worker ghcr.io"] = ghcr
	require.Equal(t, want, a.Children())
	a.HTTP(t).Fails(http.MethodGet, "/v2/registry.redhat.io/a/b/manifests/1", http.StatusNotFound, "NAME_UNKNOWN")

	// In place, and with SIGHUP besides, which does no harm.
	secret = harness.PullSecret(t, map[string]string{"quay.io": harness.Login})
	require.NoError(t, os.WriteFile(a.PullSecret(), []byte(secret), 0o600))
	a.Signal(t, syscall.SIGHUP)
	harness.Eventually(t, func() bool { return a.Children()["registry-cache worker ghcr.io"] == 0 }, "the worker ends")
	require.Equal(t, changed(before, redhatWorker), a.Children())
}

// A file that is a link to one elsewhere may change unseen: SIGHUP then says so.
func TestReloadOnSIGHUP(t *testing.T) {
	t.Parallel()
	elsewhere := filepath.Join(harness.TempDir(t), "secret.json")
	harness.WriteFile(t, elsewhere, harness.PullSecret(t, map[string]string{"quay.io": harness.Login}))
	a := harness.Start(t, harness.Options{Prepare: func(dir string) {
		link := filepath.Join(dir, "pull-secret.json")
		require.NoError(t, os.Remove(link))
		require.NoError(t, os.Symlink(elsewhere, link))
	}})
	before := a.Children()
	a.Signal(t, syscall.SIGHUP)
	a.WaitLog("SIGHUP")
	require.Equal(t, before, a.Children(), "nothing has changed")

	harness.WriteFile(t, elsewhere, harness.PullSecret(t, map[string]string{"quay.io": harness.Login, "ghcr.io": "user:password"}))
	a.Signal(t, syscall.SIGHUP)
	a.Child(t, "registry-cache worker ghcr.io")
	require.Equal(t, before[quayWorker], a.Child(t, quayWorker))
}

// Changed credentials replace that worker alone, behind the same socket.
func TestChangedCredentialsTakeEffect(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": "robot:wrong", "registry.redhat.io": "user:password"},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
	})
	redhat := a.Child(t, redhatWorker)
	require.NotEqual(t, http.StatusOK, a.HTTP(t).Must(http.MethodGet, manifestPath).Status)
	harness.WriteFile(t, a.PullSecret(), harness.PullSecret(t, map[string]string{
		"quay.io": harness.Login, "registry.redhat.io": "user:password",
	}))
	harness.Eventually(t, func() bool {
		return a.HTTP(t).Must(http.MethodGet, manifestPath).Status == http.StatusOK
	}, "the new password is used")
	require.Equal(t, redhat, a.Child(t, redhatWorker))
}

// What a broken file says is reported, once and clearly, and what ran runs on.
func TestBrokenReloadChangesNothing(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Cache(t, u)
	before := a.Children()
	for _, broken := range []struct{ content, report string }{
		{"", "empty"},
		{"{", "JSON"},
		{`{"auths": {"quay.io": {"auth": "%%%"}}}`, "base64"},
		{`{"auths": {"quay.io": {"auth": "bm9jb2xvbg=="}}}`, "colon"},
		{`{"auth": {}}`, "auths"},
	} {
		harness.WriteFile(t, a.PullSecret(), broken.content)
		a.WaitLog("pull-secret.json", broken.report)
		require.Equal(t, before, a.Children())
		a.HTTP(t).Get(manifestPath)
	}
	require.NoError(t, os.Remove(a.PullSecret()))
	a.WaitLog("pull-secret.json", "does not exist")
	require.Equal(t, before, a.Children())

	harness.WriteFile(t, a.ConfigFile(), "upstreams: {quay.io: {alias: [q]}}\n")
	a.WaitLog("config.yaml:1", "alias")
	require.Equal(t, before, a.Children())
	a.HTTP(t).Get(manifestPath)
}

// CONFIG_FILE reloads too: an alias needs no new worker.
func TestConfigFileReload(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{"quay.io": u.Settings()}})
	path := "/v2/q/podman/hello/manifests/latest"
	require.NotEqual(t, http.StatusOK, a.HTTP(t).Must(http.MethodGet, path).Status)
	harness.WriteFile(t, a.ConfigFile(), harness.ConfigFile(t, map[string]harness.Settings{
		"quay.io": u.Settings().With("aliases", []string{"q"}), "second.example": u.Settings(),
	}))
	harness.Eventually(t, func() bool {
		return a.HTTP(t).Must(http.MethodGet, path).Status == http.StatusOK
	}, "the alias works")
	harness.Eventually(t, func() bool {
		return a.HTTP(t).Must(http.MethodGet, "/v2/second.example/podman/hello/manifests/latest").Status == http.StatusOK
	}, "the added upstream works")
}

// kubernetesDir lays out files as the kubelet does: links to a directory that
// one rename of a link replaces.
type kubernetesDir struct {
	t   *testing.T
	dir string
	n   int
}

func (k *kubernetesDir) put(name, content string) {
	k.t.Helper()
	k.n++
	version := filepath.Join(k.dir, "..v"+string(rune('0'+k.n)))
	require.NoError(k.t, os.MkdirAll(version, 0o755))
	require.NoError(k.t, os.WriteFile(filepath.Join(version, name), []byte(content), 0o600))
	old, _ := os.Readlink(filepath.Join(k.dir, "..data"))
	require.NoError(k.t, os.Symlink(filepath.Base(version), filepath.Join(k.dir, "..data_tmp")))
	require.NoError(k.t, os.Rename(filepath.Join(k.dir, "..data_tmp"), filepath.Join(k.dir, "..data")))
	if old == "" {
		require.NoError(k.t, os.Symlink(filepath.Join("..data", name), filepath.Join(k.dir, name)))
		return
	}
	require.NoError(k.t, os.RemoveAll(filepath.Join(k.dir, old)))
}

func TestKubernetesSecretUpdate(t *testing.T) {
	t.Parallel()
	mount := &kubernetesDir{t: t, dir: harness.TempDir(t)}
	mount.put("pull-secret.json", harness.PullSecret(t, map[string]string{"quay.io": harness.Login}))
	a := harness.Start(t, harness.Options{Env: map[string]string{
		"PULLSECRETPATH": filepath.Join(mount.dir, "pull-secret.json"),
	}})
	quay := a.Child(t, quayWorker)
	for range 3 { // the second swap shows that the watch survived the first
		mount.put("pull-secret.json", harness.PullSecret(t, map[string]string{
			"quay.io": harness.Login, "registry.redhat.io": "user:password",
		}))
		a.Child(t, redhatWorker)
		mount.put("pull-secret.json", harness.PullSecret(t, map[string]string{"quay.io": harness.Login}))
		harness.Eventually(t, func() bool { return a.Children()[redhatWorker] == 0 }, "the worker ends")
	}
	require.Equal(t, quay, a.Children()[quayWorker])
}

// A pull secret may be swapped at any time, and no pull may fail of it, not
// even of the upstream whose worker is replaced.
func TestNoPullFailsWhilePullSecretIsSwapped(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t, harness.WithUsers(map[string]harness.User{
		"one": {Password: "p1", Repositories: []string{"*/*"}}, "two": {Password: "p2", Repositories: []string{"*/*"}},
	}))
	img := harness.Image(t, 200_000, 300_000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": "one:p1"},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
	})
	logins := []string{"one:p1", "two:p2"}
	layer, content := harness.Layer(t, img, 1)

	var pulls sync.WaitGroup
	var failed firstError
	end := make(chan struct{})
	for range 3 {
		c := a.HTTP(t)
		pulls.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				for path, size := range map[string]int{
					manifestPath: len(harness.Manifest(t, img)), "/v2/quay.io/podman/hello/blobs/" + layer: len(content),
				} {
					answer, err := c.Do(http.MethodGet, path)
					if err == nil && (answer.Status != http.StatusOK || len(answer.Body) != size) {
						err = fmt.Errorf("%s: %d, %.500s", path, answer.Status, answer.Body)
					}
					if err != nil {
						failed.set(err)
					}
				}
			}
		})
	}
	for i := range 6 {
		old := a.Child(t, quayWorker)
		harness.WriteFile(t, a.PullSecret(), harness.PullSecret(t, map[string]string{"quay.io": logins[(i+1)%2]}))
		harness.Eventually(t, func() bool { return a.Child(t, quayWorker) != old }, "the worker is replaced")
	}
	close(end)
	pulls.Wait()
	require.NoError(t, failed.err())
	harness.Podman(t).Pull(a.Addr + "/quay.io/podman/hello:latest")
}
