package logger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/logger/accesslog"
	"registrycache/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a logger that runs.
type running struct {
	stop func()
	part func() status.Part
}

func run(t *testing.T, s config.Logger) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	r := &running{}
	go func() {
		done <- Run(ctx, s, zerolog.Nop(), prometheus.NewPedanticRegistry(), func() { close(ready) },
			func(part func() status.Part) { r.part = part })
	}()
	<-ready
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	t.Cleanup(r.stop)
	return r
}

func TestUsesReachTheStoreAlsoAfterARestart(t *testing.T) {
	c := newCached(t)
	s := config.Logger{StoreDir: c.dir, AccessLog: filepath.Join(t.TempDir(), "log/access.log")}
	stop := run(t, s).stop
	w, err := accesslog.NewWriter(s.AccessLog, accesslog.WriterOptions{MaxSize: 1, FlushEvery: time.Millisecond})
	require.NoError(t, err)
	used := func(then time.Time) func() bool {
		return func() bool { return c.used(t, c.layer).Equal(then) && c.used(t, c.config).Equal(then) }
	}

	first := landed.Add(time.Hour)
	w.Log(record("manifests", c.index, first))
	require.Eventually(t, used(first), 30*time.Second, time.Millisecond)
	stop()

	second := first.Add(time.Hour)
	w.Log(record("manifests", c.index, second))
	assert.NoError(t, w.Close())
	run(t, s)
	require.Eventually(t, used(second), 30*time.Second, time.Millisecond)
	require.True(t, c.used(t, c.other).Equal(landed))
}

// The traffic is in the store, so that it outlives a run directory in memory,
// and the log with it.
func TestTrafficIsKeptAcrossRestarts(t *testing.T) {
	c := newCached(t)
	logs := filepath.Join(t.TempDir(), "log")
	s := config.Logger{StoreDir: c.dir, AccessLog: filepath.Join(logs, "access.log")}
	pull := func(n int) {
		w, err := accesslog.NewWriter(s.AccessLog, accesslog.WriterOptions{})
		require.NoError(t, err)
		for range n {
			w.Log(c.pulled(time.Now()))
			child := c.pulled(time.Now())
			child.Reference, child.Digest, child.Bytes = string(c.manifest), string(c.manifest), 100
			w.Log(child)
		}
		require.NoError(t, w.Close())
	}
	image := func(r *running) status.Image {
		list := r.part().Traffic.Busiest
		if len(list) == 0 {
			return status.Image{}
		}
		require.Len(t, list, 1)
		require.Equal(t, list, r.part().Traffic.Newest)
		return list[0]
	}
	r := run(t, s)
	require.Empty(t, r.part().Traffic.Upstreams)
	pull(3)
	require.Eventually(t, func() bool { return image(r).Pulls == 3 }, 30*time.Second, time.Millisecond)
	require.Equal(t, repo+":latest", image(r).Name, "what the index lists is part of its pull")
	r.stop()
	first := image(r).First

	r = run(t, s)
	require.EqualValues(t, 3, image(r).Pulls)
	r.stop()
	require.NoError(t, os.RemoveAll(logs))
	r = run(t, s)
	pull(4)
	require.Eventually(t, func() bool { return image(r).Pulls == 7 }, 30*time.Second, time.Millisecond)
	r.stop()
	require.True(t, first.Equal(image(r).First))
	want := status.Tally{Requests: 14, Hits: 14, Sent: 7 * 1334, Saved: 7 * 1334}
	require.Equal(t, "quay.io", r.part().Traffic.Upstreams[0].Path)
	require.Equal(t, want, r.part().Traffic.Upstreams[0].Total)
}

// A store that can only be read costs its statistics over a restart, and one
// line of the log.
func TestTrafficOfAReadOnlyStore(t *testing.T) {
	c := newCached(t)
	var report bytes.Buffer
	l, _ := newLines(c.store, zerolog.New(&report))
	require.NoError(t, os.WriteFile(filepath.Dir(c.store.StatePath("x")), nil, 0o600)) // so that also root can't write there
	for range 3 {
		l.line(line(t, c.pulled(time.Now())))
		l.tally.Close()
	}
	require.EqualValues(t, 3, l.tally.Traffic().Busiest[0].Pulls)
	require.Equal(t, 1, bytes.Count(report.Bytes(), []byte{'\n'}), report.String())
}

func TestRunFailsWhereItCanNotWork(t *testing.T) {
	notReady := func() { t.Error("ready") }
	told := func(func() status.Part) {}
	reg := prometheus.NewRegistry()
	err := Run(context.Background(), config.Logger{StoreDir: "/dev/null/store"}, zerolog.Nop(), reg, notReady, told)
	require.ErrorContains(t, err, "open the store: mkdir /dev/null")

	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "registry_cache_logger_touches_total"}))
	err = Run(context.Background(), config.Logger{StoreDir: t.TempDir()}, zerolog.Nop(), reg, notReady, told)
	require.ErrorContains(t, err, "registry_cache_logger_touches_total")
}
