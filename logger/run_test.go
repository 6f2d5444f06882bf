package logger

import (
	"context"
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
