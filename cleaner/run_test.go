package cleaner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/logtest"
	"registrycache/status"
)

// looks counts lines of the report, one for each look at the store.
type looks struct{ logtest.Buffer }

func (l *looks) take() int { return strings.Count(l.Take(), "\n") }

// running is Run on a clock that the test turns.
type running struct {
	looks
	t       *testing.T
	updates chan config.Cleaner
	part    func() status.Part
	stop    func()
}

func start(t *testing.T, set config.Cleaner) *running {
	r := &running{t: t, updates: make(chan config.Cleaner)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		done <- Run(ctx, set, r.updates, zerolog.New(&r.looks), prometheus.NewRegistry(), func() { close(ready) },
			func(part func() status.Part) { r.part = part })
	}()
	<-ready
	synctest.Wait()
	r.stop = func() {
		cancel()
		require.NoError(t, <-done)
	}
	return r
}

// after turns the clock and requires so many looks at the store meanwhile.
func (r *running) after(d time.Duration, want int) {
	r.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	require.Equal(r.t, want, r.take())
}

func TestRunLooksAtOnceAndThenAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, config.Cleaner{StoreDir: dir, MaxSize: 1 << 40, RunEvery: 10 * time.Minute})
		defer r.stop()
		r.after(0, 1)
		r.after(10*time.Minute-1, 0)
		r.after(1, 1)
		r.after(30*time.Minute, 3)
	})
}

func TestNewSettingsHoldAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		set := config.Cleaner{StoreDir: dir, MaxSize: 1 << 40, RunEvery: time.Hour}
		r := start(t, set)
		defer r.stop()
		r.after(0, 1)
		r.after(10*time.Minute, 0)

		set.RunEvery = 15 * time.Minute // since the last look, 5 from now
		r.updates <- set
		r.after(5*time.Minute-1, 0)
		r.after(1, 1)
		r.after(15*time.Minute, 1)

		set.RunEvery = time.Second // long over
		r.after(time.Minute, 0)
		r.updates <- set
		r.after(0, 1)

		set.RunEvery = time.Hour
		r.updates <- set
		r.after(0, 0)
		set.MaxSize = 1 << 30
		r.updates <- set
		r.after(0, 1)
		set.LogLevel = "debug"
		r.updates <- set
		r.after(0, 0)

		close(r.updates)
		r.after(time.Hour, 1)
	})
}

func TestWhatIsTooNewIsLookedAtAgainSoon(t *testing.T) {
	s := newStore(t)
	d := s.layer(t, "a", 100)
	synctest.Test(t, func(t *testing.T) {
		setLanded(t, s, d, time.Now()) // the year 2000
		r := start(t, config.Cleaner{StoreDir: s.dir, MaxSize: 1, RunEvery: time.Hour})
		defer r.stop()
		r.after(0, 1)
		r.after(soon-1, 0)
		r.after(1, 1)
	})
}

func TestAnErrorIsReportedAndTriedAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, config.Cleaner{StoreDir: dir, MaxSize: 1 << 40, RunEvery: time.Hour})
		defer r.stop()
		r.after(0, 1)
		root := filepath.Join(dir, "docker/registry/v2")
		blobs := filepath.Join(root, "blobs")
		require.NoError(t, os.Remove(blobs))
		require.NoError(t, os.WriteFile(blobs, nil, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(root, "landed"), []byte("2000000000000\n"), 0o600))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Contains(t, r.String(), `"level":"error"`)
		require.Contains(t, r.String(), "not a directory")
		r.take()

		require.NoError(t, os.Remove(blobs))
		require.NoError(t, os.Mkdir(blobs, 0o755))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Contains(t, r.String(), `"level":"info"`)
	})
}

// What landed is known without a walk, and the walk corrects it.
func TestItCleansAtOnceWhenTheStoreHasGrown(t *testing.T) {
	s := newStore(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, config.Cleaner{StoreDir: s.dir, MaxSize: 1 << 20, ThresholdPercent: 50, RunEvery: time.Hour})
		defer r.stop()
		r.after(0, 1)
		landed := filepath.Join(s.dir, "docker/registry/v2/landed")
		require.NoError(t, os.WriteFile(landed, []byte("1048576\n524288\n"), 0o600))
		r.after(10*time.Minute, 0)
		require.NoError(t, os.WriteFile(landed, []byte("1048576\n524288\n1\n"), 0o600))
		r.after(2*atMost, 1)
		require.NoFileExists(t, landed)
		r.after(10*time.Minute, 0)
	})
}

// What a command removed beside it is known at once, and exactly soon after.
func TestItLooksAgainWhenACommandRemovedSomething(t *testing.T) {
	s := newStore(t)
	s.layer(t, "a", 100)
	held := s.bytes(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, config.Cleaner{StoreDir: s.dir, MaxSize: 1 << 30, RunEvery: time.Hour})
		defer r.stop()
		r.after(0, 1)
		s.store.CountRemoved(held) // as by one who removed what this one did, too
		r.after(2*atMost, 1)
		require.Equal(t, held, r.part().Store.Used)
		r.after(10*time.Minute, 0)
	})
}

func TestRunFailsWhereItCanNotWork(t *testing.T) {
	notReady := func() { t.Error("ready") }
	told := func(func() status.Part) {}
	reg := prometheus.NewRegistry()
	err := Run(context.Background(), config.Cleaner{StoreDir: "/dev/null/store"}, nil, zerolog.Nop(), reg, notReady, told)
	require.ErrorContains(t, err, "open the store: mkdir /dev/null")
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "registry_cache_store_bytes"}))
	err = Run(context.Background(), config.Cleaner{StoreDir: t.TempDir()}, nil, zerolog.Nop(), reg, notReady, told)
	require.ErrorContains(t, err, "registry_cache_store_bytes")
}
