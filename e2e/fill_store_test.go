package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// readiness is /readyz.
func readiness(t *testing.T, a *harness.Appliance) (status, reasons string) {
	t.Helper()
	var body struct {
		Status  string
		Reasons []string
	}
	require.NoError(t, json.Unmarshal(a.Metrics(t).Get("/readyz").Body, &body))
	return body.Status, strings.Join(body.Reasons, ", ")
}

// degraded expects that pulls went on without the store: said in /readyz with
// the reason, in a metric, and in the log once.
func degraded(t *testing.T, a *harness.Appliance, reason string) {
	t.Helper()
	status, reasons := readiness(t, a)
	require.Equal(t, "degraded", status)
	require.Equal(t, "worker quay.io: the store is not written: "+reason, reasons)
	require.Equal(t, 1.0, a.Metric(t, "registry_cache_store_degraded", "upstream", "quay.io", "reason", reason))
	require.NotZero(t, a.Metric(t, "registry_cache_fill_store_errors_total", "upstream", "quay.io"))
	require.Equal(t, 1, strings.Count(a.Output(), "the store can't be written"), "one warning a minute")
}

// pullEverywhere pulls an image with real clients, and its first layer with
// several plain ones.
func pullEverywhere(t *testing.T, a *harness.Appliance, layer string, content []byte) {
	t.Helper()
	image := a.Addr + "/quay.io/podman/hello:latest"
	harness.Skopeo(t).Copy(image, "--src-tls-verify=false")
	harness.Podman(t).Pull(image)
	readAll(t, a, layer, content, 5)
	part := a.HTTP(t).With("Range", "bytes=1000-1999").Must(http.MethodGet, blobs+layer)
	require.Equal(t, http.StatusPartialContent, part.Status)
	require.True(t, bytes.Equal(content[1000:2000], part.Body))
}

// A disk that is too small fails no pull; once it has room, blobs are kept again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 6_000_000, 50_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	store := ""
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"CLEANER_MIN_FREE": "off"},
		Prepare: func(dir string) {
			store = dir + "/store"
			harness.Tmpfs(t, store, "4m")
		},
	})
	pullEverywhere(t, a, layer, content)
	degraded(t, a, "no space left")
	require.Contains(t, a.HTTP(t).Get(blobs+layer).Header.Get("Cache-Status"), "detail=not-stored")

	harness.Remount(t, store, 0, "size=64m")
	readAll(t, a, layer, content, 1)
	a.WaitStored(t, layer)
	harness.Eventually(t, func() bool { status, _ := readiness(t, a); return status == "ok" }, "ready again")
	require.Zero(t, a.Metric(t, "registry_cache_store_degraded"))
}

// Not even a byte is free.
func TestDiskWithoutAnyRoom(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 300_000, 50_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"CLEANER_MIN_FREE": "off"},
		Prepare: func(dir string) {
			harness.Tmpfs(t, dir+"/store", "4m,nr_inodes=8") // enough for the store's own directories
		},
	})
	pullEverywhere(t, a, layer, content)
	degraded(t, a, "no space left")
}

// A store that can't be written serves what it has and passes on the rest.
func TestReadOnlyStore(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	kept, img := harness.Image(t, 40_000), harness.Image(t, 700_000)
	u.Push(t, "podman/kept:latest", kept)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	store := ""
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"CLEANER_MIN_FREE": "off"},
		Prepare: func(dir string) {
			store = dir + "/store"
			harness.Tmpfs(t, store, "64m")
		},
	})
	keptImage := a.Addr + "/quay.io/podman/kept:latest"
	harness.Skopeo(t).Copy(keptImage, "--src-tls-verify=false")
	a.Stop()
	harness.Remount(t, store, syscall.MS_RDONLY, "size=64m")
	a.Start()
	u.Forget()
	harness.Skopeo(t).Copy(keptImage, "--src-tls-verify=false")
	require.Zero(t, u.Count(http.MethodGet, "/blobs/"))
	pullEverywhere(t, a, layer, content)
	degraded(t, a, "read-only file system")
}

// A blob that is larger than its upstream's quota is passed on; the others are
// kept.
func TestBlobLargerThanTheQuota(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 2_000_000, 50_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	small, _ := harness.Layer(t, img, 1)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings().With("maxSize", "1MB")},
	})
	pullEverywhere(t, a, layer, content)
	degraded(t, a, "a blob is larger than the store may be")
	a.WaitStored(t, small)
	require.Len(t, storedBlobs(t, a), 3, "manifest, config and the small layer")
}
