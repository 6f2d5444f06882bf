package cleaner

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
	"registrycache/status"
)

func TestStateFollowsTheStore(t *testing.T) {
	s := newStore(t)
	s.layer(t, "a", 1)
	held := s.bytes(t)
	synctest.Test(t, func(t *testing.T) {
		set := config.Cleaner{StoreDir: s.dir, MaxSize: 1 << 30, ThresholdPercent: 20, MinFreePercent: 5, RunEvery: time.Hour}
		began := time.Now()
		r := start(t, set)
		defer r.stop()
		got := *r.part().Store
		require.Positive(t, got.DiskFree)
		require.Greater(t, got.DiskSize, got.DiskFree)
		require.Equal(t, status.Store{
			Used: held, Time: began, Limit: 1 << 30, Start: 1 << 30 * 6 / 5,
			DiskFree: got.DiskFree, DiskSize: got.DiskSize, MinFree: int64(0.05 * float64(got.DiskSize)),
			Next: began.Add(time.Hour),
		}, got)

		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "docker/registry/v2/landed"), []byte("4096\n"), 0o600))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got = *r.part().Store
		require.Equal(t, held+4096, got.Used, "what landed since is known without a walk")
		require.Equal(t, began.Add(10*time.Second), got.Time)

		set.MaxSize, set.MinFreePercent, set.MinFreeBytes, set.RunEvery = 1<<31, 0, 7, 2*time.Hour
		set.Quotas = []config.Quota{{Path: "quay.io", MaxSize: 1 << 20}}
		r.updates <- set
		synctest.Wait()
		got = *r.part().Store
		require.EqualValues(t, 1<<31, got.Limit)
		require.EqualValues(t, 7, got.MinFree)
		require.Equal(t, []status.Quota{{Path: "quay.io", Used: held, Limit: 1 << 20}}, got.Quotas)
		require.Equal(t, time.Now().Add(2*time.Hour), got.Next, "other settings start a clean")
		require.Nil(t, got.Last, "which had nothing to evict")
	})
}

// stateOf runs a cleaner whose blobs are old and whose disk may have to wait.
func stateOf(t *testing.T, s *madeStore, set config.Cleaner, disk func()) *state {
	t.Helper()
	metrics, err := newMetrics(prometheus.NewRegistry(), s.store)
	require.NoError(t, err)
	c := newCleaner(s.store)
	c.log, c.metrics, c.growth, c.state = zerolog.Nop(), metrics, s.store.Growth(), &state{settings: set}
	c.disk = func() (images.Disk, error) {
		disk()
		return images.Disk{Size: 1 << 30, Free: 1 << 29}, nil
	}
	// In the bubble it is the year 2000, and all uses would be to come.
	c.now = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx, c, set, nil)
	}()
	t.Cleanup(func() { stop(); <-done })
	synctest.Wait()
	return c.state
}

func TestStateOfAClean(t *testing.T) {
	s := newStore(t)
	s.image(t, "quay.io/a", "old", 1000)
	s.image(t, "quay.io/a", "new", 10)
	before := s.bytes(t)
	limit := before / 2
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		state := stateOf(t, s, config.Cleaner{
			MaxSize: limit, RunEvery: time.Hour, Quotas: []config.Quota{{Path: "quay.io", MaxSize: 1 << 40}},
		}, func() { <-wait })
		got := state.store()
		require.True(t, got.Running)
		require.Zero(t, got.Next)
		require.Zero(t, got.Time, "nothing is known yet")
		require.Equal(t, []status.Quota{{Path: "quay.io", Limit: 1 << 40}}, got.Quotas)

		close(wait)
		synctest.Wait()
		got = state.store()
		require.False(t, got.Running)
		require.Equal(t, time.Now().Add(time.Hour), got.Next)
		after := before - blobBytes - 4096
		require.Equal(t, after, got.Used)
		require.EqualValues(t, 1<<29+before-after, got.DiskFree)
		require.Equal(t, []status.Quota{{Path: "quay.io", Used: before, Limit: 1 << 40}}, got.Quotas)
		require.Equal(t, &status.Clean{Time: time.Now(), Before: before, After: after, Images: 1, Blobs: 2}, got.Last)

		time.Sleep(90 * time.Minute)
		synctest.Wait()
		require.Equal(t, got.Last, state.store().Last, "the next looks had nothing to do")
	})
}

func TestStateOfACleanThatDidNotReachItsGoal(t *testing.T) {
	s := newStore(t)
	s.image(t, "quay.io/a", "pinned", 1000)
	held := s.bytes(t)
	synctest.Test(t, func(t *testing.T) {
		state := stateOf(t, s, config.Cleaner{MaxSize: 1, Pins: []string{"quay.io/*"}, RunEvery: time.Hour}, func() {})
		require.Equal(t, &status.Clean{Time: time.Now(), Before: held, After: held, Missing: held - 1}, state.store().Last)
	})
}

func TestStateOfACleanThatFailed(t *testing.T) {
	s := newStore(t)
	blobs := filepath.Join(s.dir, "docker/registry/v2/blobs")
	require.NoError(t, os.Remove(blobs))
	require.NoError(t, os.WriteFile(blobs, nil, 0o600))
	synctest.Test(t, func(t *testing.T) {
		state := stateOf(t, s, config.Cleaner{MaxSize: 1 << 30, RunEvery: time.Hour}, func() {})
		got := state.store()
		require.Contains(t, got.Last.Error, "not a directory")
		require.Equal(t, time.Now(), got.Last.Time)
		require.Equal(t, time.Now().Add(time.Hour), got.Next)
		require.False(t, got.Running)
	})
}

// Whoever asks does so in a goroutine of its own.
func TestStateIsAskedAtAnyTime(t *testing.T) {
	s := newStore(t)
	for _, tag := range []string{"1", "2", "3"} {
		s.image(t, "quay.io/a", tag, 1000)
	}
	synctest.Test(t, func(t *testing.T) {
		var asking sync.WaitGroup
		set := config.Cleaner{StoreDir: s.dir, MaxSize: 1, RunEvery: time.Second}
		r := start(t, set)
		defer r.stop()
		for range 4 {
			asking.Go(func() {
				for range 100 {
					assert.NotNil(t, r.part().Store)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for range 9 {
			set.MaxSize++
			r.updates <- set
			time.Sleep(time.Second)
		}
		asking.Wait()
	})
}
