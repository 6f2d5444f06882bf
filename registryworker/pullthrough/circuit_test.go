package pullthrough

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func TestHungUpstreamCostsThreeSecondsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var tags []string
		for _, tag := range []string{"one", "two"} {
			_, blobs := b.up.addImage(t, "podman/hello", tag, tag)
			require.NoError(t, b.byTag("podman/hello", tag).err)
			b.have("podman/hello", blobs...)
			tags = append(tags, tag)
		}
		release := b.up.hanging()
		checks := b.up.count("resolve")

		start := time.Now()
		require.Equal(t, accesslog.Stale, b.byTag("podman/hello", tags[0]).cache)
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, 1.0, testutil.ToFloat64(b.metrics.failing))

		start = time.Now()
		for range 100 {
			require.Equal(t, accesslog.Stale, b.byTag("podman/hello", tags[1]).cache)
		}
		assert.Zero(t, time.Since(start), "nobody else waits")
		assert.Equal(t, checks+1, b.up.count("resolve"))

		close(release)
		time.Sleep(minPause)
		synctest.Wait()
		require.Equal(t, accesslog.Revalidated, b.byTag("podman/hello", tags[0]).cache)
		assert.Zero(t, testutil.ToFloat64(b.metrics.failing))
	})
}

func TestFailingUpstreamIsProbedForRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)
		before := b.up.count("resolve")

		b.up.failing(upErr(upstream.Unavailable), "resolve")
		for range 600 { // ten requests a second for a minute
			require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
			time.Sleep(100 * time.Millisecond)
		}
		// The first, and those after pauses of 1, 2, 4, 8, 16 s.
		assert.Equal(t, before+6, b.up.count("resolve"))

		b.up.failing(nil, "resolve")
		start := time.Now()
		for b.byTag("podman/hello", "latest").cache == accesslog.Stale {
			require.Less(t, time.Since(start), maxPause+time.Second)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Contains(t, b.log.String(), "the upstream answers again")
	})
}

// Nobody waits for a hung upstream, however seldom somebody comes.
func TestSeldomUsedUpstreamIsProbedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)
		release := b.up.hanging()
		require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
		for range 10 {
			time.Sleep(probeFor - time.Minute)
			start := time.Now()
			require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
			require.Zero(t, time.Since(start))
		}
		close(release)
		time.Sleep(maxPause)
		synctest.Wait()
		require.Equal(t, accesslog.Revalidated, b.byTag("podman/hello", "latest").cache)
	})
}

func TestUnusedUpstreamIsNotProbedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)
		b.up.failing(upErr(upstream.Unavailable), "resolve")
		require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
		time.Sleep(probeFor + maxPause)
		checks := b.up.count("resolve")
		time.Sleep(time.Hour)
		assert.Equal(t, checks, b.up.count("resolve"))

		b.up.failing(nil, "resolve")
		require.Equal(t, accesslog.Revalidated, b.byTag("podman/hello", "latest").cache, "the first pull after it checks")
	})
}

func TestOneBrokenRepositoryDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, blobs := b.up.addImage(t, "podman/good", "latest", "good")
		require.NoError(t, b.byTag("podman/good", "latest").err)
		b.have("podman/good", blobs...)

		b.circuit.failed(upErr(upstream.Unavailable), 0) // another repository's
		require.Equal(t, accesslog.Stale, b.byTag("podman/good", "latest").cache)
		time.Sleep(minPause)
		synctest.Wait()
		require.Equal(t, accesslog.Revalidated, b.byTag("podman/good", "latest").cache)
	})
}

func TestRefusedRequestIsNoFailureOfTheUpstream(t *testing.T) {
	for name, tt := range map[string]struct {
		err     upstream.Error
		failing float64
	}{
		"bad name":   {upstream.Error{Kind: upstream.Invalid, Status: 400}, 0},
		"not found":  {upstream.Error{Kind: upstream.NotFound, Status: 404}, 0},
		"denied":     {upstream.Error{Kind: upstream.Denied, Status: 403}, 0},
		"logged out": {upstream.Error{Kind: upstream.Unauthorized, Status: 401}, 0},
		"nonsense":   {upstream.Error{Kind: upstream.Invalid, Status: 200}, 1},
		"no words":   {upstream.Error{Kind: upstream.Invalid}, 1},
		"broken":     {upstream.Error{Kind: upstream.Unavailable, Status: 500}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.up.failing(&tt.err, "resolve")
			require.Error(t, b.byTag("podman/hello", "latest").err)
			assert.Equal(t, tt.failing == 1, b.circuit.blocks(nil))
			assert.Equal(t, tt.failing, testutil.ToFloat64(b.metrics.failing))
		})
	}
}

func TestRetryAfterKeepsTheCircuitOpen(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		5 * time.Minute: 5 * time.Minute,
		24 * time.Hour:  maxRetryAfter,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
			require.NoError(t, b.byTag("podman/hello", "latest").err)
			b.have("podman/hello", blobs...)
			b.up.failing(&upstream.Error{Kind: upstream.RateLimited, RetryAfter: after}, "resolve")
			before := b.up.count("resolve")
			start := time.Now()
			for b.up.count("resolve") < before+2 {
				require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
				time.Sleep(time.Second)
				synctest.Wait()
			}
			assert.InDelta(t, want.Seconds(), time.Since(start).Seconds(), 2)
		})
	}
}

func TestFailuresAtOnceAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for range 10 {
			b.circuit.failed(upErr(upstream.Unavailable), 0)
		}
		assert.Equal(t, minPause, b.circuit.pause)
		time.Sleep(minPause)
		synctest.Wait()
		assert.False(t, b.circuit.blocks(nil))
		assert.Equal(t, 1, strings.Count(b.log.String(), "the upstream fails"))
	})
}
