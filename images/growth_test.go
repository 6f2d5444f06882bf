package images_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func TestGrowthCountsWhatLandsThroughAnyProcess(t *testing.T) {
	s, dir := open(t)
	g := s.Growth()
	landed := func() int64 {
		t.Helper()
		n, err := g.Bytes()
		require.NoError(t, err)
		return n
	}
	require.Zero(t, landed())
	commit(t, s, strings.Repeat("x", 10_000))
	require.EqualValues(t, 12<<10, landed())
	require.EqualValues(t, 12<<10, landed(), "once only")

	other, err := images.Open(dir)
	require.NoError(t, err)
	commit(t, other, "another")
	putImage(t, other, repo)
	require.EqualValues(t, 20<<10, landed())

	require.NoError(t, g.Reset())
	require.Zero(t, landed())
	commit(t, s, "after the reset")
	require.EqualValues(t, 4<<10, landed())
	require.NoError(t, g.Reset())
	require.NoError(t, g.Reset(), "nothing landed in between")
}

func TestGrowthStandsWhatPowerLossLeaves(t *testing.T) {
	s, dir := open(t)
	path := filepath.Join(dir, "docker/registry/v2/landed")
	require.NoError(t, os.WriteFile(path, []byte("4096\n\x00\x00\n-\n99999999999999999999999\n81"), 0o600))
	g := s.Growth()
	n, err := g.Bytes()
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, int64(4096))

	require.NoError(t, g.Reset())
	commit(t, s, "x")
	n, err = g.Bytes()
	require.NoError(t, err)
	require.EqualValues(t, 4096, n)
}

func TestGrowthIsToldOfWhatCommandsRemove(t *testing.T) {
	s, _ := open(t)
	g := s.Growth()
	s.CountRemoved(0)
	commit(t, s, "x")
	n, err := g.Bytes()
	require.NoError(t, err)
	require.EqualValues(t, 4096, n)
	require.False(t, g.Shrunk())

	s.CountRemoved(5000)
	n, err = g.Bytes()
	require.NoError(t, err)
	require.EqualValues(t, 4096-5000, n)
	require.True(t, g.Shrunk())
	require.NoError(t, g.Reset())
	require.False(t, g.Shrunk())
}

func TestABlobLandsWhenItIsCommitted(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "x")
	used, landed := times(t, s, d)
	require.WithinDuration(t, time.Now(), landed, time.Minute)
	require.Equal(t, landed, used)

	// The file of a fill that a former process wrote is older.
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(f.Name(), old, old))
	require.NoError(t, s.Commit(f, d))
	_, landed = times(t, s, d)
	require.WithinDuration(t, time.Now(), landed, time.Minute)
}
