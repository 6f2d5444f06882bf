package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// cachedImage is what registry-cache images --json documents.
type cachedImage struct {
	Name, Upstream, Repository string
	Tags                       []string
	Digest                     string
	MediaType                  string
	Platforms                  []string
	Children                   []struct {
		Digest, Platform string
		Cached           bool
	}
	SizeBytes, SharedBytes int64
	LastUsed               time.Time
	Complete               bool
	Missing                []string
}

// images asks the command line what is cached, by name.
func images(t *testing.T, a *harness.Appliance, args ...string) map[string]cachedImage {
	t.Helper()
	var listing struct {
		Images []cachedImage
		Totals struct{ Images int }
	}
	out := command(t, a, append([]string{"images", "--json"}, args...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &listing), out)
	found := map[string]cachedImage{}
	for _, image := range listing.Images {
		found[image.Name+":"+strings.Join(image.Tags, ",")] = image
	}
	return found
}

// command runs a command that must succeed, and returns its output.
func command(t *testing.T, a *harness.Appliance, args ...string) string {
	t.Helper()
	var out, failure bytes.Buffer
	cmd := a.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &failure
	require.NoError(t, cmd.Run(), "%s: %s", args, &failure)
	return out.String()
}

// failed runs a command that must fail with exit code 1, and returns what it
// said.
func failed(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v: %s", err, out)
	require.Equal(t, 1, exit.ExitCode(), "%s", out)
	return string(out)
}

// allBlobs are the blobs of a store by digest.
func allBlobs(t *testing.T, store string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(store, "docker/registry/v2/blobs/sha256/*/*/data"))
	require.NoError(t, err)
	for _, path := range paths {
		found = append(found, "sha256:"+filepath.Base(filepath.Dir(path)))
	}
	return found
}

// complete waits until all that was pulled is stored: a client has the last
// byte a little earlier.
func complete(t *testing.T, a *harness.Appliance, want ...string) map[string]cachedImage {
	t.Helper()
	var found map[string]cachedImage
	harness.Eventually(t, func() bool {
		found = images(t, a)
		for _, name := range want {
			if !found[name].Complete {
				return false
			}
		}
		return len(found) == len(want)
	}, "%s are complete", want)
	return found
}

func TestImagesAreListedRemovedAndPulledAgain(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello, multi := harness.Image(t, 3000, 20_000), harness.Index(t, 4000)
	u.Push(t, "podman/hello:latest", hello)
	u.Push(t, "podman/hello:v1", hello)
	u.Push(t, "podman/multi:1", multi)
	a := harness.Cache(t, u)
	require.Contains(t, command(t, a, "images"), "Nothing is cached in ")

	start := time.Now().Add(-time.Second)
	podman := harness.Podman(t)
	pull := func(name string) { podman.Pull(a.Addr + "/quay.io/podman/" + name) }
	pull("hello:latest")
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:v1", "--src-tls-verify=false")
	pull("multi:1")
	const helloName, multiName = "quay.io/podman/hello:latest,v1", "quay.io/podman/multi:1"
	found := complete(t, a, helloName, multiName)

	got := found[multiName]
	require.Equal(t, []string{"quay.io", "podman/multi"}, []string{got.Upstream, got.Repository})
	require.Equal(t, harness.Digest(t, multi), got.Digest)
	require.Equal(t, "application/vnd.oci.image.index.v1+json", got.MediaType)
	require.Equal(t, []string{"linux/amd64"}, got.Platforms)
	require.Len(t, got.Children, 2)
	require.True(t, got.LastUsed.After(start), got.LastUsed)
	require.Equal(t, harness.Digest(t, hello), found[helloName].Digest)
	require.Equal(t, []string{"linux/amd64"}, found[helloName].Platforms)
	require.Zero(t, got.SharedBytes)
	table := command(t, a, "images", "--sort", "size", "quay.io/podman/*")
	require.Regexp(t, `(?m)^quay\.io/podman/hello +latest,v1 +[0-9a-f]{12} +linux/amd64 +\d+ KiB +0 B +.* yes$`, table)
	require.Regexp(t, `(?m)^quay\.io/podman/multi +1 +[0-9a-f]{12} +linux/amd64 \(1 of 2\) +\d+ KiB +0 B +.* yes$`, table)

	// A tag of two goes alone.
	before := allBlobs(t, a.Store())
	require.Contains(t, command(t, a, "images", "rm", "quay.io/podman/hello:v1"), "the image stays, it is also tagged latest")
	require.Equal(t, before, allBlobs(t, a.Store()))

	// What would go is what goes.
	dry := command(t, a, "images", "rm", "--dry-run", "quay.io/podman/multi:1")
	require.Equal(t, before, allBlobs(t, a.Store()))
	require.Equal(t, dry, strings.NewReplacer("removed", "would remove", "freed", "would free").
		Replace(command(t, a, "images", "rm", a.Addr+"/quay.io/podman/multi:1")))
	require.Contains(t, dry, "in 5 blobs\n", "index, manifest, config, two layers")
	require.Len(t, allBlobs(t, a.Store()), len(before)-5)
	complete(t, a, "quay.io/podman/hello:latest")

	require.Contains(t, failed(t, a.Command("images", "rm", "quay.io/podman/multi:1")), "quay.io/podman/multi:1 is not cached")
	require.Contains(t, failed(t, a.Command("images", "rm", "quay.io/podman/hullo")), "did you mean quay.io/podman/hello?")

	// It comes back whole, and can then be had without the upstream.
	pull("multi:1")
	complete(t, a, "quay.io/podman/hello:latest", multiName)
	u.Stop()
	a.Restart()
	pull("multi:1")
	pull("hello:latest")
}

// Pulls that run while their image is removed again and again end well, also
// when the removal is killed midway.
func TestImagesRemovedUnderPulls(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 300_000, 200_000))
	a := harness.Cache(t, u)
	skopeo := harness.Skopeo(t)
	done := make(chan error, 1)
	go func() {
		for n := range 10 {
			// skopeo checks what it gets.
			if out, err := skopeo.Do("copy", "--quiet", "--src-tls-verify=false",
				"docker://"+a.Addr+"/quay.io/podman/hello:latest", fmt.Sprintf("dir:%s/%d", skopeo.Dir, n)); err != nil {
				done <- fmt.Errorf("%w: %s", err, out)
				return
			}
		}
		done <- nil
	}()
	for removals := 1; ; removals++ {
		before := len(allBlobs(t, a.Store()))
		removal := a.Command("images", "rm", "quay.io/podman/hello") // there or not
		require.NoError(t, removal.Start())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = removal.Wait()
		}()
		if removals%2 == 0 {
			harness.Within(harness.Patience, func() bool {
				select {
				case <-ended:
					return true
				default:
					return len(allBlobs(t, a.Store())) < before
				}
			})
			_ = removal.Process.Kill()
		}
		<-ended
		select {
		case err := <-done:
			require.NoError(t, err)
			// For a moment the router may give from memory what was just removed.
			harness.Eventually(t, func() bool {
				skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
				return images(t, a)["quay.io/podman/hello:latest"].Complete
			}, "a pull brings it back whole")
			return
		default:
		}
	}
}

// A store that docker-registry wrote has no upstream in its names.
func TestImagesOfAnotherRegistry(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Push(t, "podman/multi:1", harness.Index(t, 4000))
	first := harness.Cache(t, u)
	store := harness.TempDir(t)
	other, skopeo := harness.ServeStore(t, store), harness.Skopeo(t)
	for _, name := range []string{"podman/hello:latest", "podman/multi:1"} {
		skopeo.Must("copy", "--all", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+first.Addr+"/quay.io/"+name, "docker://"+other+"/"+name)
	}

	a := harness.Configure(t, harness.Options{
		Logins: map[string]string{"quay.io": harness.Login}, Env: map[string]string{"REGISTRYDIR": store},
	})
	found := complete(t, a, "podman/hello:latest", "podman/multi:1")
	require.Equal(t, "", found["podman/multi:1"].Upstream)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, found["podman/multi:1"].Platforms)
	require.Contains(t, command(t, a, "images", "rm", "podman/multi:1"), "in 9 blobs\n")
	complete(t, a, "podman/hello:latest")
	require.Equal(t, http.StatusOK, get(t, "http://"+other+"/v2/podman/hello/manifests/latest"))
	require.Equal(t, http.StatusNotFound, get(t, "http://"+other+"/v2/podman/multi/manifests/1"))
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // of a test, which has its own end
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// Who may only read can look, and learns why nothing is removed.
func TestImagesReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Cache(t, u)
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	complete(t, a, "quay.io/podman/hello:latest")
	require.NoError(t, os.Chmod(a.Dir, 0o755))
	for _, path := range []string{a.PullSecret(), a.ConfigFile()} {
		require.NoError(t, os.Chmod(path, 0o644))
	}
	asNobody := func(args ...string) *exec.Cmd {
		const nobody = 65534
		cmd := a.Command(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	out, err := asNobody("images").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "quay.io/podman/hello  latest")
	require.Contains(t, failed(t, asNobody("images", "rm", "quay.io/podman/hello")), "run it as the user the cache runs as")
	complete(t, a, "quay.io/podman/hello:latest")
}
