package cleaner

import (
	"context"
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
	"registrycache/images/imagestest"
)

// For profiles; `make bench BENCH=Clean` has the figures, beside others'.
//
//	go test ./cleaner -run '^$' -bench Store -blobs 100000 -benchtime 1x -cpuprofile cpu.out
var benchBlobs = flag.Int("blobs", 20_000, "blobs in the store of the benchmarks")

// BenchmarkStore measures, on one made store: scan and plan, a look with
// nothing to do, and the eviction of a tenth of it, links and all.
func BenchmarkStore(b *testing.B) {
	store := imagestest.Make(b, b.TempDir(), imagestest.OfBlobs(*benchBlobs))
	ctx := context.Background()

	b.Run("ScanAndPlan", func(b *testing.B) {
		for b.Loop() {
			s, err := take(ctx, store, time.Now())
			require.NoError(b, err)
			require.Len(b, s.Blobs, *benchBlobs)
			scanned := b.Elapsed()
			p, _, err := s.plan(ctx, config.Cleaner{})
			require.NoError(b, err)
			p.choose(goal{reclaim: s.bytes / 10}, all)
			b.ReportMetric(scanned.Seconds(), "s/scan")
			runtime.KeepAlive(s)
			runtime.KeepAlive(p)
		}
	})
	b.Run("NothingToDo", func(b *testing.B) {
		c := benchCleaner(b, store)
		c.walked = time.Now()
		for b.Loop() {
			_, err := c.look(ctx, config.Cleaner{MaxSize: 1 << 50, ThresholdPercent: 20})
			require.NoError(b, err)
		}
	})
	b.Run("Sweep", func(b *testing.B) {
		for b.Loop() {
			s, err := take(ctx, store, time.Now())
			require.NoError(b, err)
			start := time.Now()
			swept, err := s.Sweep(ctx, nil, images.Sweeping{Before: time.Now()})
			b.ReportMetric(time.Since(start).Seconds(), "s/sweep")
			require.NoError(b, err)
			require.Zero(b, swept)
		}
	})
	b.Run("EvictATenth", func(b *testing.B) {
		c := benchCleaner(b, store)
		for b.Loop() {
			s, err := c.survey(ctx)
			require.NoError(b, err)
			c.walked = time.Now() // as on any but the first look of a day
			start := time.Now()
			c.options.Progress = func(gone, all int64) {
				if gone == all {
					b.ReportMetric(time.Since(start).Seconds(), "s/unlink")
				}
			}
			r, err := c.clean(ctx, config.Cleaner{MaxSize: s.bytes / 10 * 9}, s)
			require.NoError(b, err)
			b.ReportMetric(time.Since(start).Seconds(), "s/evict")
			b.ReportMetric(float64(r.Blobs), "blobs")
			b.ReportMetric(float64(r.Swept.Links), "links")
		}
	})
}

func benchCleaner(b *testing.B, store *images.Store) *cleaner {
	b.Helper()
	metrics, err := newMetrics(prometheus.NewRegistry(), store)
	require.NoError(b, err)
	c := newCleaner(store)
	c.log, c.metrics, c.growth = zerolog.Nop(), metrics, store.Growth()
	return &c
}
