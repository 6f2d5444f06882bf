package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
	"registrycache/logger/accesslog"
)

// warmed is how a run of the command ended.
type warmed struct {
	code        int
	out, errors string
}

// warmCache runs the command in the environment of the appliance, as podman exec
// does.
func warmCache(t *testing.T, a *harness.Appliance, args ...string) warmed {
	t.Helper()
	return runWarm(t, a.Command(append([]string{"warm"}, args...)...))
}

func runWarm(t *testing.T, cmd *exec.Cmd) warmed {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return warmed{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

func (w warmed) require(t *testing.T, code int) warmed {
	t.Helper()
	require.Equal(t, code, w.code, "%s\n%s", w.out, w.errors)
	return w
}

// row is the line of the table about an image.
func (w warmed) row(t *testing.T, image string) string {
	t.Helper()
	for line := range strings.Lines(w.out) {
		if strings.HasPrefix(line, image+" ") {
			return strings.TrimSpace(line)
		}
	}
	require.Fail(t, "no line about "+image, "%s", w.out)
	return ""
}

// warmRecords are what the access log has of the command so far.
func warmRecords(t *testing.T, a *harness.Appliance) []accesslog.Record {
	t.Helper()
	// The log is written behind the answers: this request is behind all others.
	a.HTTP(t).With("User-Agent", "the-end").Must(http.MethodGet, "/v2/")
	var found []accesslog.Record
	harness.Eventually(t, func() bool {
		found = nil
		raw, err := os.ReadFile(a.AccessLog())
		require.NoError(t, err)
		for line := range strings.Lines(string(raw)) {
			var r accesslog.Record
			if json.Unmarshal([]byte(line), &r) != nil {
				return false // the last line is being written
			}
			switch {
			case r.UserAgent == "the-end":
				return true
			case strings.HasPrefix(r.UserAgent, accesslog.WarmAgent):
				found = append(found, r)
			}
		}
		return false
	}, "the access log is written")
	return found
}

// A list is warmed, the upstream goes away, and everything can be pulled.
func TestWarm(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	large := harness.Image(t, 9<<20, 3000)
	u.Push(t, "podman/hello:latest", large)
	u.Push(t, "team/app:1.0", harness.OCIImage(t, 5000))
	u.Push(t, "team/multi:2", harness.Index(t, 4000))
	a := harness.Cache(t, u)
	harness.WriteFile(t, filepath.Join(a.Dir, "images.txt"), `# what this site needs
quay.io/podman/hello:latest

docker://quay.io/team/app:1.0   # by another name
quay.io/team/app:1.0
https://quay.io/v2/team/multi/manifests/2
`)
	first := warmCache(t, a, "-f", "images.txt").require(t, 0)
	require.Contains(t, first.row(t, "quay.io/podman/hello:latest"), "  fetched")
	require.Contains(t, first.row(t, "docker://quay.io/team/app:1.0"), "  fetched")
	require.Contains(t, first.row(t, "https://quay.io/v2/team/multi/manifests/2"), "linux/amd64 ")
	require.Equal(t, 1, strings.Count(first.out, "team/app"), "the same image twice is warmed once:\n%s", first.out)
	require.Contains(t, first.errors, "quay.io/podman/hello:latest: fetching 3 blobs")
	require.Contains(t, first.errors, "quay.io/podman/hello:latest: done")

	// Nine megabytes came into the cache, and next to none of them to here.
	var sent int64
	probes := 0
	for _, r := range warmRecords(t, a) {
		if r.Kind == "blobs" {
			sent += r.Bytes
			if r.Method == http.MethodGet {
				require.Equal(t, http.StatusPartialContent, r.Status)
				probes++
			}
		}
	}
	require.Less(t, sent, int64(100), "bytes of blobs")
	require.GreaterOrEqual(t, probes, 3+2+2+3, "a config or small layer takes one, nine megabytes take three")

	before := u.Count(http.MethodGet, "blobs")
	second := warmCache(t, a, "-f", "images.txt", "--quiet").require(t, 0)
	require.Equal(t, 3, strings.Count(second.out, "already here\n"), "%s", second.out)
	require.Empty(t, second.errors)
	require.Equal(t, before, u.Count(http.MethodGet, "blobs"), "nothing is fetched twice")

	u.Stop()
	skopeo := harness.Skopeo(t)
	skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	skopeo.Copy(a.Addr+"/quay.io/team/app:1.0", "--src-tls-verify=false")
	skopeo.Copy(a.Addr+"/quay.io/team/multi:2", "--src-tls-verify=false", "--override-arch", "amd64")
	harness.Podman(t).Pull(a.Addr + "/quay.io/podman/hello:latest")
}

// Ctrl-C ends with a summary, and the next run goes on where this one ended.
func TestWarmIsInterruptedAndResumed(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	done, slow := harness.Image(t, 3000), harness.Image(t, 12<<20)
	u.Push(t, "team/done:1", done)
	u.Push(t, "team/slow:1", slow)
	a := harness.Cache(t, u)
	layer, _ := harness.Layer(t, slow, 0)
	release := make(chan struct{})
	u.Inject(http.MethodGet, layer, harness.WaitAfter(6<<20, release))

	cmd := a.Command("warm", "quay.io/team/done:1", "quay.io/team/slow:1", "--jobs", "2")
	process := harness.StartProcess(t, cmd)
	harness.Eventually(t, func() bool {
		for _, r := range u.Requests(http.MethodGet, layer) {
			return r.Sent() == 6<<20 && strings.Contains(process.Output(), "quay.io/team/done:1: done")
		}
		return false
	}, "one image is here and the other half:\n%s", process.Output())
	process.Signal(t, syscall.SIGINT)
	require.Equal(t, 1, process.Wait(t), "%s", process.Output())
	summary := warmed{out: process.Output()}
	require.Contains(t, summary.out, "quay.io/team/slow:1: failed: interrupted")
	require.Contains(t, summary.out, "; 1 failed")

	close(release)
	again := warmCache(t, a, "quay.io/team/done:1", "quay.io/team/slow:1").require(t, 0)
	require.Contains(t, again.row(t, "quay.io/team/done:1"), "already here")
	require.Equal(t, 1, u.Count(http.MethodGet, layer), "the cache went on with what it had begun")
	requireSoundStore(t, a)
}

// A worker is killed while it fetches: the run goes on by itself.
func TestWarmOutlivesARestartOfTheWorker(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 12<<20)
	u.Push(t, "team/app:1", img)
	a := harness.Cache(t, u)
	layer, _ := harness.Layer(t, img, 0)
	cut := u.Inject(http.MethodGet, layer, harness.WaitAfter(6<<20, nil))
	process := harness.StartProcess(t, a.Command("warm", "quay.io/team/app:1"))
	harness.Eventually(t, func() bool {
		for _, r := range u.Requests(http.MethodGet, layer) {
			return r.Sent() == 6<<20
		}
		return false
	}, "half of the layer came:\n%s", process.Output())
	cut.Remove()
	require.NoError(t, syscall.Kill(a.Child(t, quayWorker), syscall.SIGKILL))
	require.Equal(t, 0, process.Wait(t), "%s", process.Output())
	requireSoundStore(t, a)
}

func TestWarmPlatforms(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	index := harness.Index(t, 4000)
	u.Push(t, "team/multi:1", index)
	a := harness.Cache(t, u)
	const image = "quay.io/team/multi:1"

	none := warmCache(t, a, image, "--platform", "linux/s390x").require(t, 1)
	require.Contains(t, none.row(t, image), "failed: there is nothing for linux/s390x; there is linux/amd64, linux/arm64")
	require.Zero(t, u.Count(http.MethodGet, "blobs"))

	plan := warmCache(t, a, image, "--platform", "linux/arm64/v8", "--dry-run").require(t, 0)
	require.Contains(t, plan.out, "TO FETCH")
	require.Contains(t, plan.row(t, image), "to be fetched")
	require.Zero(t, u.Count(http.MethodGet, "blobs"), "a dry run fetches no blob")

	one := warmCache(t, a, image, "--platform", "linux/arm64/v8").require(t, 0)
	require.Contains(t, one.row(t, image), "linux/arm64  3 ")
	require.Equal(t, 3, u.Count(http.MethodGet, "blobs"))

	all := warmCache(t, a, image, "--all-platforms", "--json").require(t, 0)
	var summary struct {
		Images []struct {
			Platforms        []string
			Blobs            int
			FetchedBytes     int64
			AlreadyHereBytes int64
			Result           string
		}
		Failed int
	}
	require.NoError(t, json.Unmarshal([]byte(all.out), &summary))
	require.Len(t, summary.Images, 1)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, summary.Images[0].Platforms)
	require.Equal(t, 6, summary.Images[0].Blobs)
	require.NotZero(t, summary.Images[0].FetchedBytes)
	require.NotZero(t, summary.Images[0].AlreadyHereBytes)
	require.Equal(t, "fetched", summary.Images[0].Result)
	require.Equal(t, 6, u.Count(http.MethodGet, "blobs"))

	u.Stop()
	for _, arch := range []string{"amd64", "arm64"} {
		harness.Skopeo(t).Copy(a.Addr+"/"+image, "--src-tls-verify=false", "--override-arch", arch)
	}
}

// What fails is named with why, and all else is warmed.
func TestWarmNamesWhatFailed(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "team/app:1", harness.Image(t, 3000))
	broken := harness.Image(t, 4000)
	u.Push(t, "team/broken:1", broken)
	layer, _ := harness.Layer(t, broken, 0)
	u.Inject("", layer, harness.Status(http.StatusNotFound))
	a := harness.Cache(t, u)

	got := warmCache(t, a, "quay.io/team/none:1", "quay.io/team/broken:1", "unknown.example/x:1", "quay.io/team/app:1").require(t, 1)
	require.Contains(t, got.row(t, "quay.io/team/none:1"), "failed: 404 Not Found: ")
	require.Contains(t, got.row(t, "quay.io/team/broken:1"), "failed: blob "+layer[:len("sha256:")+12]+": 404 Not Found")
	require.Contains(t, got.row(t, "unknown.example/x:1"), "is not an upstream of this cache; this cache serves quay.io")
	require.Contains(t, got.row(t, "quay.io/team/app:1"), "  fetched")
	require.Contains(t, got.out, "4 images: ")
	require.Contains(t, got.out, "; 3 failed\n")
}

// What the cache gives out and can't keep is not warmed, and does not come here
// in its stead.
func TestWarmOfWhatTheStoreCannotHold(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 9<<20, 3000)
	u.Push(t, "team/large:1", img)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"CLEANER_MAXSIZE": "2MiB"},
	})
	layer, _ := harness.Layer(t, img, 0)
	got := warmCache(t, a, "quay.io/team/large:1").require(t, 1)
	require.Contains(t, got.row(t, "quay.io/team/large:1"), "failed: blob "+layer[:len("sha256:")+12]+": the cache has no room to keep it")
	for _, r := range warmRecords(t, a) {
		require.LessOrEqual(t, r.Bytes, int64(5000), "%+v", r)
	}
}

func TestWarmOfAnOfflineCache(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "team/app:1", harness.Image(t, 3000))
	u.Push(t, "team/other:1", harness.Image(t, 3000))
	a := harness.Cache(t, u)
	warmCache(t, a, "quay.io/team/app:1").require(t, 0)
	a.Stop()
	cmd := a.Command("serve")
	cmd.Env = append(cmd.Env, "OFFLINE=true")
	a.Process = harness.StartProcess(t, cmd)
	a.WaitReady()
	got := warmCache(t, a, "quay.io/team/app:1", "quay.io/team/other:1").require(t, 1)
	require.Contains(t, got.row(t, "quay.io/team/app:1"), "already here")
	require.Contains(t, got.row(t, "quay.io/team/other:1"), "OFFLINE")
	a.Stop()
}

func TestWarmWantsTheRightLogin(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "team/app:1", harness.Image(t, 3000))
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "s3:cret")
	const image = "quay.io/team/app:1"
	host := "localhost:" + a.Addr[strings.LastIndex(a.Addr, ":")+1:]
	for name, login := range map[string]string{"right.json": "puller:s3:cret", "wrong.json": "puller:nothing"} {
		harness.WriteFile(t, filepath.Join(a.Dir, name), harness.PullSecret(t, map[string]string{host: login, a.Addr: login}))
	}
	require.Contains(t, warmCache(t, a, image).require(t, 1).errors, "--authfile")
	require.Contains(t, warmCache(t, a, image, "--authfile", "wrong.json").require(t, 1).errors, "is not accepted")
	require.Contains(t, warmCache(t, a, image, "--authfile", "none.json").require(t, 2).errors, "none.json")
	got := warmCache(t, a, image, "--authfile", "right.json").require(t, 0)
	require.Contains(t, got.row(t, image), "fetched")
	require.NotContains(t, got.out+got.errors, "s3:cret")

	cmd := a.Command("warm", image, "--host", a.Addr, "--plain-http")
	cmd.Env = append(cmd.Env, "REGISTRY_AUTH_FILE="+filepath.Join(a.Dir, "right.json"))
	require.Contains(t, runWarm(t, cmd).require(t, 0).row(t, image), "already here")
}

func TestWarmWithTokens(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "team/app:1", harness.Image(t, 3000))
	tokens := harness.NewTokenServer(t, "127.0.0.1:0", map[string]harness.User{
		"puller": {Password: "secret", Repositories: []string{"quay.io/team/*"}},
	})
	a := harness.Start(t, harness.Options{
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()}, Env: tokens.Environment(),
	})
	host := "localhost:" + a.Addr[strings.LastIndex(a.Addr, ":")+1:]
	harness.WriteFile(t, filepath.Join(a.Dir, "auth.json"), harness.PullSecret(t, map[string]string{host: "puller:secret"}))
	got := warmCache(t, a, "quay.io/team/app:1", "--authfile", "auth.json").require(t, 0)
	require.Contains(t, got.row(t, "quay.io/team/app:1"), "fetched")
	require.Contains(t, warmCache(t, a, "quay.io/team/app:1").require(t, 1).errors, "--authfile")
}

func TestWarmOverTLS(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "team/app:1", harness.Image(t, 3000))
	pair := harness.NewPair(t, "cache.local")
	a := startTLS(t, u, "tls.crt", pair)
	other := harness.NewPair(t, "cache.local")
	harness.WriteFile(t, filepath.Join(a.Dir, "ca.pem"), string(pair.Cert))
	harness.WriteFile(t, filepath.Join(a.Dir, "other.pem"), string(other.Cert))
	const image = "quay.io/team/app:1"

	require.Contains(t, warmCache(t, a, image, "--host", a.Addr).require(t, 1).errors, "--ca FILE")
	require.Contains(t, warmCache(t, a, image, "--host", a.Addr, "--ca", "other.pem").require(t, 1).errors, "certificate")
	warmCache(t, a, image, "--host", a.Addr, "--ca", "ca.pem").require(t, 0)
	warmCache(t, a, image, "--host", "https://"+a.Addr+"/", "--insecure").require(t, 0)
	// The cache of the environment is known by its certificate.
	require.Contains(t, warmCache(t, a, image).require(t, 0).row(t, image), "already here")
	harness.WriteFile(t, filepath.Join(a.Certs(), "tls.key"), string(other.Key))
	harness.WriteFile(t, filepath.Join(a.Certs(), "tls.crt"), string(other.Cert))
	harness.Eventually(t, func() bool { return warmCache(t, a, image).code == 0 }, "with the new certificate")
	plain := warmCache(t, a, image, "--host", a.Addr, "--plain-http").require(t, 1)
	require.Contains(t, plain.errors, "400")
}
