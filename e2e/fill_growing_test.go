package e2e

import (
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// written is how many bytes a process has written to files and sockets so far,
// those that sendfile wrote for it included (proc(5), io).
func written(t *testing.T, pid int) int {
	t.Helper()
	p, err := procfs.NewProc(pid)
	require.NoError(t, err)
	counted, err := p.IO()
	require.NoError(t, err)
	return int(counted.WChar)
}

// The worker writes what it fetches to the disk and to nobody else: the router
// sends it from there, to however many clients.
func TestWorkerWritesAMissOnce(t *testing.T) {
	t.Parallel()
	const size, clients = 24 << 20, 4
	d := harness.NewDepot(t)
	blob, content := d.Random(t, size)
	a := d.Cache(t, nil)
	worker, router := a.Child(t, quayWorker), a.Child(t, "registry-cache router")
	beforeWorker, beforeRouter := written(t, worker), written(t, router)
	release := make(chan struct{})
	d.Inject(http.MethodGet, blob, harness.WaitAfter(1, release))
	done := make(chan struct{})
	go func() {
		defer close(done)
		readAll(t, a, blob, content, clients)
	}()
	harness.Eventually(t, func() bool {
		return a.Metric(t, "registry_cache_fill_joined_total") == clients-1
	}, "all follow one transfer")
	close(release)
	<-done
	a.WaitStored(t, blob)
	require.InDelta(t, size, written(t, worker)-beforeWorker, size/10)
	require.InDelta(t, clients*size, written(t, router)-beforeRouter, size/10)
}

// A client whose worker dies midway gets no more than what was fetched, and no
// clean end; its successor goes on from there.
func TestGrowingFileOfAKilledWorker(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 8<<20)
	a := d.Cache(t, nil)
	release := make(chan struct{})
	d.Inject(http.MethodGet, blob, harness.Sequence(harness.WaitAfter(4<<20, release)))
	resp, err := a.HTTP(t).Open(http.MethodGet, blobs+blob)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.ReadFull(resp.Body, make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(a.Child(t, quayWorker), syscall.SIGKILL))
	rest, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, len(rest), 3<<20)
	close(release)
	require.Equal(t, content, a.HTTP(t).Get(blobs+blob).Body)
}
