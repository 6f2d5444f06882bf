package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// A disk made full fails no pull. When what is on it may go, it recovers by
// itself: the cleaner makes room at once, and pulls are kept again.
func TestFullDiskRecoversByItself(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	const size, fit = 3_000_000, 3
	var all []v1.Image
	for i := range fit + 2 {
		all = append(all, harness.Image(t, size))
		u.Push(t, fmt.Sprintf("team/app:%d", i), all[i])
	}
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env: map[string]string{
			"CLEANER_MIN_FREE": "30%", "CLEANER_RUNEVERY_TIME": "24h", "CLEANER_MAXSIZE": "1GiB",
		},
		Prepare: func(dir string) { harness.Tmpfs(t, dir+"/store", "11m") },
	})
	podman, skopeo := harness.Podman(t), harness.Skopeo(t)
	pull := func(tag int) {
		t.Helper()
		image := fmt.Sprintf("%s/quay.io/team/app:%d", a.Addr, tag)
		podman.Pull(image)
		skopeo.Copy(image, "--src-tls-verify=false")
	}
	for tag := range fit + 1 {
		pull(tag)
	}
	degraded(t, a, "no space left")

	held := allBlobs(t, a.Store())
	for i, img := range all {
		for _, part := range partsOf(t, img) {
			if slices.Contains(held, part) {
				ago := time.Duration(100-i) * time.Hour
				backdate(t, a, ago, ago, part)
			}
		}
	}
	a.WaitLog(`"store cleaned"`, `"images":["quay.io/team/app:0"`)
	harness.Eventually(t, func() bool {
		pull(fit + 1)
		_, kept := images(t, a)[fmt.Sprintf("quay.io/team/app:%d", fit+1)]
		status, _ := readiness(t, a)
		return kept && status == "ok"
	}, "pulls are kept again")
	require.Zero(t, a.Metric(t, "registry_cache_store_degraded"))
	u.Stop()
	pull(fit + 1)
}
