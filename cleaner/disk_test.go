package cleaner

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

// What else fills the disk is no blob that lands: only the disk tells.
func TestItCleansAtOnceWhenTheDiskIsShort(t *testing.T) {
	s := newStore(t)
	old, _ := s.image(t, "quay.io/a", "old", 200)
	s.image(t, "quay.io/a", "new", 10)
	synctest.Test(t, func(t *testing.T) {
		log := &looks{}
		metrics, err := newMetrics(prometheus.NewRegistry(), s.store)
		require.NoError(t, err)
		var free atomic.Int64
		free.Store(1000 << 10)
		c := newCleaner(s.store)
		c.log, c.metrics, c.growth = zerolog.New(log), metrics, s.store.Growth()
		c.disk = func() (images.Disk, error) {
			if !s.here(old) {
				return images.Disk{Size: 10000 << 10, Free: 500 << 10}, nil
			}
			return images.Disk{Size: 10000 << 10, Free: free.Load()}, nil
		}
		// In the bubble it is the year 2000, and all uses would be to come.
		c.now = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
		done := make(chan struct{})
		updates := make(chan config.Cleaner)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer close(done)
			run(ctx, c, config.Cleaner{MaxSize: 1 << 40, MinFreePercent: 5, RunEvery: time.Hour}, updates)
		}()
		defer func() { stop(); <-done }()
		synctest.Wait()
		require.Equal(t, 1, log.take())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Zero(t, log.take(), "there is enough")

		free.Store(500<<10 - 4096 - blobBytes)
		time.Sleep(2 * atMost)
		synctest.Wait()
		require.Contains(t, log.String(), `"images":["quay.io/a:old"]`)
		require.Equal(t, 1, log.take())
	})
}

// A disk that is full to the last block takes no new file: a clean needs none.
func TestCleanNeedsNoSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(dir, 0o755))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED: a small file system can't be mounted here (%v); run as root to have this tested", err)
	}
	defer func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	s := newStoreIn(t, dir)
	for i := range 20 {
		s.image(t, "quay.io/a", fmt.Sprint("v", i), 10+i)
	}
	filler := filepath.Join(dir, "filler")
	require.ErrorIs(t, os.WriteFile(filler, bytes.Repeat([]byte{1}, 8<<20), 0o600), syscall.ENOSPC)
	s.disk = s.store.Disk
	s.walked = s.now()
	r, err := s.look(t.Context(), config.Cleaner{MaxSize: 1 << 40, MinFreePercent: 5})
	require.NoError(t, err)
	require.Zero(t, r.Missing)
	require.NotEmpty(t, r.Images)
	require.Less(t, len(r.Images), 20)
	require.Equal(t, DiskShort, r.Images[0].Why)
	require.Positive(t, r.Swept.Links)
	free, err := s.store.Disk()
	require.NoError(t, err)
	require.GreaterOrEqual(t, free.Free, free.Size/20)
	tags, err := s.store.Tags("quay.io/a")
	require.NoError(t, err)
	require.Len(t, tags, 20-len(r.Images))
}
