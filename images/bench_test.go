package images_test

import (
	"context"
	"flag"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/images/imagestest"
)

// The figures of a full store, which takes minutes to make, once if it is to
// stay:
//
//	go test ./images -run '^$' -bench Store -blobs 1000000 -store /var/tmp/store -benchtime 1x -timeout 30m
var (
	benchBlobs = flag.Int("blobs", 20_000, "blobs in the store of the benchmarks")
	benchStore = flag.String("store", "", "where the store of the benchmarks is or shall be; default one that goes again")
)

func madeStore(b *testing.B) *images.Store {
	b.Helper()
	dir := *benchStore
	if dir == "" {
		dir = b.TempDir()
	}
	if _, err := os.Stat(dir); *benchStore == "" || os.IsNotExist(err) {
		return imagestest.Make(b, dir, imagestest.OfBlobs(*benchBlobs))
	}
	store, err := images.Open(dir)
	require.NoError(b, err)
	return store
}

// BenchmarkStore measures what a look at all of a store takes.
func BenchmarkStore(b *testing.B) {
	store := madeStore(b)
	ctx := context.Background()
	b.Run("Relate", func(b *testing.B) {
		for b.Loop() {
			start := time.Now()
			v, err := store.Take(ctx)
			require.NoError(b, err)
			require.Len(b, v.Blobs, *benchBlobs)
			taken := time.Now()
			require.NoError(b, v.Relate(ctx))
			b.ReportMetric(taken.Sub(start).Seconds(), "s/take")
			b.ReportMetric(time.Since(taken).Seconds(), "s/relate")
			reportMemory(b)
			runtime.KeepAlive(v)
		}
	})
	b.Run("List", func(b *testing.B) {
		for b.Loop() {
			v, err := store.Take(ctx)
			require.NoError(b, err)
			require.NoError(b, v.Relate(ctx))
			related := time.Now()
			l, err := v.List(ctx)
			require.NoError(b, err)
			require.Zero(b, l.Loose)
			b.ReportMetric(time.Since(related).Seconds(), "s/list")
			reportMemory(b)
			runtime.KeepAlive(l)
		}
	})
}

// reportMemory reports all that the process has from the system, which is no
// less than the most it ever had of heap.
func reportMemory(b *testing.B) {
	b.Helper()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
}
