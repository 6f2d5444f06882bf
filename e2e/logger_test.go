package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// Every pull is recorded as a use of the whole image, by the access times of its
// blobs and nothing else, whatever the mount says about access times, and also
// when the logger was killed before.
func TestUsesAreRecordedOnAnyMount(t *testing.T) {
	for name, flags := range map[string]uintptr{"noatime": syscall.MS_NOATIME, "relatime": syscall.MS_RELATIME} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := harness.NewUpstream(t)
			img := harness.Image(t, 30_000, 20_000)
			u.Push(t, "podman/hello:latest", img)
			a := harness.Start(t, harness.Options{
				Logins:    map[string]string{"quay.io": harness.Login},
				Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
				Env:       map[string]string{"CLEANER_MIN_FREE": "off"},
				Prepare: func(dir string) {
					harness.Tmpfs(t, dir+"/store", "64m")
					harness.Remount(t, dir+"/store", flags, "size=64m")
				},
			})
			podman := harness.Podman(t)
			image := a.Addr + "/quay.io/podman/hello:latest"
			podman.Pull(image)
			complete(t, a, "quay.io/podman/hello:latest")
			a.Stop() // all uses so far are recorded
			backdate(t, a, time.Hour, 48*time.Hour)
			a.Start()

			before := time.Now().Add(-time.Second)
			require.NoError(t, syscall.Kill(a.Child(t, "registry-cache logger"), syscall.SIGKILL))
			podman.Must("pull", "--quiet", "--tls-verify=false", image) // has the layers
			waitUsed(t, a, before, partsOf(t, img)...)
			for _, part := range partsOf(t, img) {
				_, landed, err := times(blobPath(t, a, part))
				require.NoError(t, err)
				require.WithinDuration(t, before.Add(-48*time.Hour), landed, time.Minute, "when it landed stays")
			}
		})
	}
}
