package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// storedBlobs are the files of all blobs in the store.
func storedBlobs(t *testing.T, a *harness.Appliance) []string {
	t.Helper()
	var found []string
	root := filepath.Join(a.Store(), "docker/registry/v2/blobs")
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "data" {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// requireSoundStore checks every blob in the store against its digest.
func requireSoundStore(t *testing.T, a *harness.Appliance) {
	t.Helper()
	for _, path := range storedBlobs(t, a) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		require.Equal(t, filepath.Base(filepath.Dir(path)), hex.EncodeToString(sum[:]), "%d bytes", len(content))
	}
}

// firstByte is where the range of a request begins.
func firstByte(t *testing.T, r harness.Request) int64 {
	t.Helper()
	from, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(from, 10, 64)
	require.NoError(t, err, "Range: %s", r.Header.Get("Range"))
	return n
}

// What is on the disk when a process is killed is not fetched again, but for
// the little that was not written down yet.
func TestResumeFromDisk(t *testing.T) {
	t.Parallel()
	const size, sent, unsaved = 30 << 20, 25 << 20, 9 << 20
	for name, kill := range map[string]func(*testing.T, *harness.Appliance){
		"worker killed": func(t *testing.T, a *harness.Appliance) {
			require.NoError(t, syscall.Kill(a.Child(t, quayWorker), syscall.SIGKILL))
		},
		"all killed": func(t *testing.T, a *harness.Appliance) {
			children := a.Children()
			a.Kill()
			for what, pid := range children {
				harness.Eventually(t, func() bool { return !harness.Alive(pid) }, "%s ends with its supervisor", what)
			}
			a.Start()
		},
		"restarted": func(_ *testing.T, a *harness.Appliance) { a.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := harness.NewDepot(t)
			blob, content := d.Random(t, size)
			a := d.Cache(t, nil)
			d.Inject(http.MethodGet, blob, harness.Sequence(harness.WaitAfter(sent, nil)))
			resp, err := a.HTTP(t).Open(http.MethodGet, blobs+blob)
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			_, err = io.CopyN(io.Discard, resp.Body, sent-1)
			require.NoError(t, err)
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, err := io.Copy(io.Discard, resp.Body)
				if err == nil {
					t.Error("the download looks whole")
				}
			}()
			if name == "restarted" { // which would wait for the client
				require.NoError(t, resp.Body.Close())
			}
			kill(t, a)
			<-gone

			readAll(t, a, blob, content, 2)
			requests := d.Requests(http.MethodGet, blob)
			require.Len(t, requests, 2)
			again := sent - firstByte(t, requests[1])
			require.LessOrEqual(t, again, int64(unsaved))
			require.Equal(t, size-firstByte(t, requests[1]), requests[1].Sent())
			a.WaitStored(t, blob)
			require.Equal(t, 1.0, a.Metric(t, "registry_cache_fill_resumed_total"))
		})
	}
}

// Whenever a worker is killed, above all in the middle of storing a blob, no
// blob in the store is wrong and no client gets a wrong one.
func TestNoWrongBlobAfterKills(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	a := d.Cache(t, nil)
	contents := map[string][]byte{}
	for round := range 12 {
		blob, content := d.Random(t, 100_000+round*300_000)
		contents[blob] = content
		worker := a.Child(t, quayWorker)
		resp, err := a.HTTP(t).Open(http.MethodGet, blobs+blob)
		require.NoError(t, err)
		n := len(content)
		if round%3 == 0 {
			n = rand.IntN(n) // midway
		}
		got := make([]byte, n)
		_, err = io.ReadFull(resp.Body, got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content[:n], got))
		if round%3 == 1 { // with the last byte, when storing begins; else a moment later
			hash := strings.TrimPrefix(blob, "sha256:")
			place := filepath.Join(a.Store(), "docker/registry/v2/blobs/sha256", hash[:2], hash)
			deadline := time.Now().Add(harness.Patience)
			for _, err := os.Stat(place); err != nil; _, err = os.Stat(place) {
				require.True(t, time.Now().Before(deadline), "%s is not stored", blob)
			}
		}
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		rest, err := io.ReadAll(resp.Body)
		require.True(t, err != nil || n+len(rest) == len(content), "a clean end after %d bytes", n+len(rest))
		require.NoError(t, resp.Body.Close())
		requireSoundStore(t, a)
		// A worker that dies again and again is restarted later and later.
		a.Kill()
		a.Start()
	}
	for blob, content := range contents {
		readAll(t, a, blob, content, 2)
	}
	requireSoundStore(t, a)
}
