package fill

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// capped makes every connection take a millisecond for each 1000 bytes.
func capped(x *exchange) {
	x.chunk = 1000
	x.gate = func(int64) <-chan struct{} {
		ready := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(ready) })
		return ready
	}
}

func TestSeveralConnectionsAreFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(1_000_000))
		o.every = capped
		begun := time.Now()
		requireContent(t, b.open(t, o, o.digest), o.content)
		took := time.Since(begun)
		b.requireStored(t, o.content)
		o.assertOnce(t)
		// One connection takes 1 s.
		require.LessOrEqual(t, took, 300*time.Millisecond)
		require.Equal(t, span{0, smallOptions.ParallelFrom}, o.asked()[0])
	})
}

func TestSmallBlobIsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(int(smallOptions.ParallelFrom)))
		o.every = capped
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
		require.Len(t, o.asked(), 1)
	})
}

// Waiting for answers must not take a fast connection's time: requests become
// larger.
func TestLatencyMakesRequestsLarger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := smallOptions
		opt.Connections = 1
		b := newBench(t, opt)
		o := newOrigin(randomBytes(2_000_000))
		o.every = func(*exchange) { time.Sleep(50 * time.Millisecond) }
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
		o.assertOnce(t)
		longest := int64(0)
		for _, s := range o.asked() {
			longest = max(longest, s.to-s.from)
		}
		require.GreaterOrEqual(t, longest, longestSegment*opt.SegmentSize)
		require.LessOrEqual(t, longest, 2*longestSegment*opt.SegmentSize)
	})
}

// containerd asks for bytes=K- of cold blobs: they must not wait for all that is
// before them.
func TestReaderFarAheadIsServedFirst(t *testing.T) {
	for name, size := range map[string]int{"large": 2_000_000, "not large": 100_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := smallOptions
				opt.ParallelFrom = 128 << 10
				b := newBench(t, opt)
				o := newOrigin(randomBytes(size))
				o.every = capped
				first := b.open(t, o, o.digest)
				ahead := b.open(t, o, o.digest)
				at := int64(size) * 7 / 10
				_, err := ahead.Seek(at, io.SeekStart)
				require.NoError(t, err)
				begun := time.Now()
				part := make([]byte, 1000)
				_, err = io.ReadFull(ahead, part)
				require.NoError(t, err)
				require.Equal(t, o.content[at:at+1000], part)
				// As long as one segment on each connection, at most.
				require.LessOrEqual(t, time.Since(begun), 2*time.Duration(smallOptions.SegmentSize)*time.Microsecond)
				requireContent(t, ahead, o.content[at+1000:])
				requireContent(t, first, o.content)
				b.requireStored(t, o.content)
				o.assertOnce(t)
			})
		})
	}
}

func TestManyReadersAtAllOffsets(t *testing.T) {
	for _, every := range []func(*exchange){capped, all(noRanges, capped)} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, smallOptions)
			o := newOrigin(randomBytes(500_000))
			o.every = every
			var clients sync.WaitGroup
			for i := range 20 {
				clients.Go(func() {
					r, err := b.Open(t.Context(), repo, o.digest, o)
					if !assert.NoError(t, err) {
						return
					}
					from := int64(i) * 25_000
					_, err = r.Seek(from, io.SeekStart)
					assert.NoError(t, err)
					got, err := io.ReadAll(r)
					assert.NoError(t, err)
					assert.Equal(t, digest.FromBytes(o.content[from:]), digest.FromBytes(got))
					assert.NoError(t, r.Close())
				})
			}
			clients.Wait()
			b.requireStored(t, o.content)
			o.assertOnce(t)
		})
	}
}

func TestRefusedConnectionsAreDoneWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(1_000_000))
		var mu sync.Mutex
		open := 0
		o.every = func(x *exchange) {
			capped(x)
			mu.Lock()
			defer mu.Unlock()
			if open == 2 {
				x.err = &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Minute}
				return
			}
			open++
			x.closed = func() {
				mu.Lock()
				defer mu.Unlock()
				open--
			}
		}
		begun := time.Now()
		requireContent(t, b.open(t, o, o.digest), o.content)
		require.Less(t, time.Since(begun), time.Second)
		b.requireStored(t, o.content)
		o.assertOnce(t)
	})
}

// Many fills at once leave each other a connection, and no more than that when
// there are too many.
func TestFillsShareConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := smallOptions
		opt.MaxConnections = 5
		b := newBench(t, opt)
		var mu sync.Mutex
		var open, most int
		gauge := func(x *exchange) {
			capped(x)
			mu.Lock()
			defer mu.Unlock()
			open++
			most = max(most, open)
			x.closed = func() {
				mu.Lock()
				defer mu.Unlock()
				open--
			}
		}
		const fills = 4
		var clients sync.WaitGroup
		begun := time.Now()
		for range fills {
			o := newOrigin(randomBytes(500_000))
			o.every = gauge
			clients.Go(func() {
				r, err := b.Open(t.Context(), repo, o.digest, o)
				if assert.NoError(t, err) {
					got, err := io.ReadAll(r)
					assert.NoError(t, err)
					assert.Len(t, got, 500_000)
					assert.NoError(t, r.Close())
				}
				o.assertOnce(t)
			})
		}
		clients.Wait()
		assert.LessOrEqual(t, most, opt.MaxConnections+fills-1)
		assert.Less(t, time.Since(begun), time.Second)
	})
}

// Every connection breaks all the time, and some requests fail.
func TestParallelFillThroughFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(1_000_000))
		o.every = func(x *exchange) {
			capped(x)
			switch x.n % 5 {
			case 1:
				x.dropAt = min(x.from+5_000, x.to)
			case 2:
				x.dropAt, x.dropErr = min(x.from+7_000, x.to), nil
			case 3:
				x.stallAt = min(x.from+9_000, x.to)
			case 4:
				x.err = &upstream.Error{Kind: upstream.Unavailable, Status: 503}
			}
		}
		r, ahead := b.open(t, o, o.digest), b.open(t, o, o.digest)
		_, err := ahead.Seek(600_000, io.SeekStart)
		require.NoError(t, err)
		requireContent(t, ahead, o.content[600_000:])
		requireContent(t, r, o.content)
		b.requireStored(t, o.content)
		o.assertOnce(t)
	})
}

// An upstream that forgets about ranges midway costs time, not the pull.
func TestRangesEndMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(500_000))
		o.every = func(x *exchange) {
			capped(x)
			if x.n >= 3 {
				noRanges(x)
			}
		}
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
		require.LessOrEqual(t, len(o.asked()), 8)
	})
}

func TestParallelFillStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(1_000_000))
		o.every = capped
		r := b.open(t, o, o.digest)
		_, err := io.CopyN(io.Discard, r, 100_000)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, b.Close(ctx), context.DeadlineExceeded)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, ErrClosed)
		require.False(t, errors.Is(err, context.Canceled))
	})
}
