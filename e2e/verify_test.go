package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
	held "registrycache/images"
)

// blobPath is where the appliance keeps a blob.
func blobPath(t *testing.T, a *harness.Appliance, blob string) string {
	t.Helper()
	s, err := held.OpenExisting(a.Store())
	require.NoError(t, err)
	return s.BlobPath(digest.Digest(blob))
}

// flipBit changes a file as a disk does.
func flipBit(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[len(content)/2] ^= 4
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

// exit runs a command of the appliance to its end.
func exit(t *testing.T, cmd *exec.Cmd) (stdout string, code int) {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestVerifyDropsWhatTheDiskSpoiltAndTheNextPullHeals(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000, 5000)
	u.Push(t, "podman/hello:latest", img)
	flipped, want := harness.Layer(t, img, 0)
	short, wantShort := harness.Layer(t, img, 1)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	pull := func() {
		t.Helper()
		c.Get(manifestPath)
		require.Equal(t, want, c.Get("/v2/quay.io/podman/hello/blobs/"+flipped).Body)
		require.Equal(t, wantShort, c.Get("/v2/quay.io/podman/hello/blobs/"+short).Body)
		a.WaitStored(t, flipped)
		a.WaitStored(t, short)
	}
	pull()
	_, code := exit(t, a.Command("clean", "--verify"))
	require.Zero(t, code)

	flipBit(t, blobPath(t, a, flipped))
	require.NoError(t, os.Truncate(blobPath(t, a, short), 4000))
	out, code := exit(t, a.Command("clean", "--verify", "--json"))
	require.Equal(t, 1, code)
	var report struct{ Bad []held.BadBlob }
	require.NoError(t, json.Unmarshal([]byte(out), &report), "%s", out)
	require.Len(t, report.Bad, 2)
	for _, b := range report.Bad {
		require.Contains(t, []string{flipped, short}, b.Digest.String())
		require.Equal(t, []string{"quay.io/podman/hello:latest"}, b.Images)
		require.True(t, b.Dropped)
	}
	require.EqualValues(t, 2, a.Metric(t, "registry_cache_verify_bad_blobs"))

	pull()
	_, code = exit(t, a.Command("clean", "--verify"))
	require.Zero(t, code)
	require.Zero(t, a.Metric(t, "registry_cache_verify_bad_blobs"))
}

func TestVerifyEndsWithASummaryOnInterrupt(t *testing.T) {
	t.Parallel()
	a := harness.Configure(t, harness.Options{Upstreams: map[string]harness.Settings{"quay.io": {"url": "http://127.0.0.1:1"}}})
	s, err := held.Open(a.Store())
	require.NoError(t, err)
	for i := range 200 {
		content := fmt.Appendf(nil, "blob %d", i)
		d := digest.FromBytes(content)
		require.NoError(t, os.MkdirAll(s.FillDir(d), 0o755))
		f, err := os.Create(s.FillDir(d) + "/data")
		require.NoError(t, err)
		_, err = f.WriteString("not " + string(content))
		require.NoError(t, err)
		require.NoError(t, s.Commit(f, d))
		require.NoError(t, f.Close())
	}
	p := harness.StartProcess(t, a.Command("clean", "--verify", "--rate", "50B"))
	harness.Eventually(t, func() bool { return len(p.Output()) > 0 }, "it found something")
	p.Signal(t, syscall.SIGINT)
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Output(), "bad: sha256:")
	require.Contains(t, p.Output(), "BAD BLOB")
	require.Contains(t, p.Output(), " were not read\n")
	require.Contains(t, p.Output(), "registry-cache: interrupted; run it again to verify what is left\n")
}

func TestCleanBesideTheRunningCache(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	layer, want := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	pull := func() {
		t.Helper()
		c.Get(manifestPath)
		require.Equal(t, want, c.Get("/v2/quay.io/podman/hello/blobs/"+layer).Body)
		a.WaitStored(t, layer)
	}
	pull()
	out, code := exit(t, a.Command("clean", "--to", "0"))
	require.Equal(t, 1, code, "it has just landed:\n%s", out)
	pull()

	s, err := held.OpenExisting(a.Store())
	require.NoError(t, err)
	v, err := s.Take(t.Context())
	require.NoError(t, err)
	earlier := time.Now().Add(-time.Hour)
	for i := range v.Blobs {
		require.NoError(t, os.Chtimes(s.BlobPath(v.Digest(int32(i))), earlier, earlier))
	}
	out, code = exit(t, a.Command("clean", "--to", "0"))
	require.Zero(t, code)
	require.Contains(t, out, "quay.io/podman/hello:latest ")
	require.NoFileExists(t, blobPath(t, a, layer))
	harness.Eventually(t, func() bool { return a.Metric(t, "registry_cache_store_bytes") == 0 }, "the cleaner knows")
	pull()
}
