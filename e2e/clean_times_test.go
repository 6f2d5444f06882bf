package e2e

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"registrycache/e2e/harness"
)

// keep as the time that setTimes leaves alone.
var keep = time.Time{}

// setTimes changes when a blob was used (atime) and landed (mtime).
func setTimes(path string, used, landed time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for i, t := range []time.Time{used, landed} {
		if t != keep {
			ts[i] = unix.NsecToTimespec(t.UnixNano())
		}
	}
	err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // evicted
	}
	return err
}

// backdate makes everything in the store, and what it consists of, as if it
// was fetched and last used so long ago.
func backdate(t *testing.T, a *harness.Appliance, used, landed time.Duration, blobs ...string) {
	t.Helper()
	if len(blobs) == 0 {
		blobs = allBlobs(t, a.Store())
	}
	now := time.Now()
	for _, blob := range blobs {
		require.NoError(t, setTimes(blobPath(t, a, blob), now.Add(-used), now.Add(-landed)))
	}
}

// times are those of a file: when it was used, and when it landed.
func times(path string) (used, landed time.Time, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return used, landed, err
	}
	return time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix()), nil
}

// partsOf are all blobs of an image, its manifest among them.
func partsOf(t *testing.T, content v1.Image) []string {
	t.Helper()
	config, err := content.ConfigName()
	require.NoError(t, err)
	parts := []string{harness.Digest(t, content), config.String()}
	manifest, err := content.Manifest()
	require.NoError(t, err)
	for _, layer := range manifest.Layers {
		parts = append(parts, layer.Digest.String())
	}
	return parts
}

// waitUsed waits until the use of all these blobs is recorded as one after t0.
func waitUsed(t *testing.T, a *harness.Appliance, t0 time.Time, blobs ...string) {
	t.Helper()
	for _, blob := range blobs {
		harness.Eventually(t, func() bool {
			used, _, err := times(blobPath(t, a, blob))
			return err == nil && !used.Before(t0)
		}, "the use of %s is recorded", blob)
	}
}
