package router

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// waiting waits until so many clients wait for a small answer of a worker.
func (c *cache) waiting(n int) {
	c.t.Helper()
	c.eventually(func() bool {
		total := 0
		for _, u := range c.handler.state.Load().upstreams {
			u.flights.mu.Lock()
			for _, fl := range u.flights.running {
				total += fl.waiting
			}
			u.flights.mu.Unlock()
		}
		return total == n
	})
}

// gated is a worker that answers when it may.
func gated(gate chan struct{}, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			next(w, r)
		case <-r.Context().Done():
		case <-time.After(patience):
		}
	}
}

func TestClientsOfAColdManifestAreOneRequest(t *testing.T) {
	const n = 20
	for name, tt := range map[string]struct {
		cacheControl string
		asked        int64
	}{
		"kept": {"max-age=60", 1}, "not kept": {"no-cache", 1}, "not to be shared": {"no-store", n},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			gate := make(chan struct{})
			var asked atomic.Int64
			c.worker("quay.io", counter(&asked, gated(gate, func(w http.ResponseWriter, r *http.Request) {
				manifest("{}", tt.cacheControl)(w, r)
				w.Header().Set("Cache-Status", accesslog.Miss.Header())
			})))
			c.start()
			var clients sync.WaitGroup
			for range n {
				clients.Go(func() {
					response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/manifests/1", nil))
					if !assert.NoError(t, err) {
						return
					}
					body, err := io.ReadAll(response.Body)
					assert.NoError(t, errors.Join(err, response.Body.Close()))
					assert.Equal(t, "{}", string(body))
				})
			}
			c.waiting(n)
			close(gate)
			clients.Wait()
			assert.Equal(t, tt.asked, asked.Load())
		})
	}
}

func TestCollapsedSaysSo(t *testing.T) {
	c := newCache(t)
	gate := make(chan struct{})
	c.worker("quay.io", gated(gate, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Status", accesslog.Miss.Header())
	}))
	c.start()
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() { c.get("/v2/quay.io/a/manifests/1") })
	}
	c.waiting(3)
	close(gate)
	clients.Wait()
	counts := map[accesslog.CacheStatus]int{}
	for _, r := range c.records(3) {
		counts[r.Cache]++
	}
	assert.Equal(t, map[accesslog.CacheStatus]int{accesslog.Miss: 1, accesslog.Collapsed: 2}, counts)
}

func TestFirstClientThatLeavesTakesNobodyAlong(t *testing.T) {
	c := newCache(t)
	gate := make(chan struct{})
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, gated(gate, manifest("{}", "max-age=60"))))
	c.start()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/manifests/1", nil).WithContext(ctx))
		left <- err
	}()
	c.waiting(1)
	got := make(chan string)
	go func() { _, body := c.get("/v2/quay.io/a/manifests/1"); got <- body }()
	c.waiting(2)
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	c.waiting(1)
	close(gate)
	assert.Equal(t, "{}", <-got)
	assert.Equal(t, int64(1), asked.Load())
}

func TestManifestThatBreaksOffIsAnError(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "only this")
		assert.NoError(t, http.NewResponseController(w).Flush())
		panic(http.ErrAbortHandler)
	})
	c.start()
	for range 2 {
		response, _ := c.get("/v2/quay.io/a/manifests/1")
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode, "nothing was sent yet, so the client can be told")
	}
	assert.Contains(t, c.log.String(), "broke off")
}

func TestAnswerTooLargeToBeSharedIsStreamed(t *testing.T) {
	c := newCache(t)
	const size = maxShared + 1
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write(make([]byte, size))
	})
	c.start()
	for range 2 {
		_, body := c.get("/v2/quay.io/a/manifests/1")
		assert.Len(t, body, size)
	}
}

func TestFlightEndsWithTheLastWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		var started, cancelled atomic.Int64
		work := func(ctx context.Context) (*shared, error) {
			started.Add(1)
			<-ctx.Done()
			cancelled.Add(1)
			return nil, ctx.Err()
		}
		var waiting sync.WaitGroup
		leaves := make([]context.CancelFunc, 3)
		for i := range leaves {
			ctx, leave := context.WithCancel(t.Context())
			leaves[i] = leave
			waiting.Go(func() {
				_, _, err := f.wait(ctx, "key", work)
				assert.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		leaves[1]()
		leaves[0]()
		synctest.Wait()
		assert.Zero(t, cancelled.Load())
		leaves[2]()
		waiting.Wait()
		synctest.Wait()
		assert.Equal(t, int64(1), cancelled.Load())
		assert.Empty(t, f.running)

		got, joined, err := f.wait(t.Context(), "key", func(context.Context) (*shared, error) { return &shared{status: 1}, nil })
		assert.NoError(t, err)
		assert.False(t, joined)
		assert.Equal(t, 1, got.status)
		assert.Equal(t, int64(1), started.Load())
	})
}
