package idleheap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// percent is what GOGC is at present.
func percent() int {
	now := debug.SetGCPercent(busyPercent)
	debug.SetGCPercent(now)
	return now
}

// collect has so many collections, each after a pause.
func collect(p *pace, times int, after time.Duration) {
	for range times {
		time.Sleep(after)
		p.collected()
	}
}

func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(idlePercent))
	synctest.Test(t, func(t *testing.T) {
		p := newPace(busyPercent)
		defer p.rest.Stop()
		collect(p, busyTimes-1, time.Millisecond)
		assert.Equal(t, idlePercent, percent(), "it has just started")
		collect(p, 1, busyBelow)
		collect(p, busyTimes-1, time.Millisecond)
		assert.Equal(t, idlePercent, percent(), "it was asked something")
		collect(p, 1, time.Millisecond)
		assert.Equal(t, busyPercent, percent(), "it is at work")

		collect(p, 100, busyRest-time.Millisecond)
		assert.Equal(t, busyPercent, percent(), "work that pauses")
		time.Sleep(busyRest)
		synctest.Wait()
		assert.Equal(t, idlePercent, percent(), "work has ended")
	})
}

// Some work all the time must not have memory given back all the time.
func TestRestsAreFarApart(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(idlePercent))
	synctest.Test(t, func(t *testing.T) {
		p := newPace(busyPercent)
		defer p.rest.Stop()
		rests := 0
		for range 50 {
			time.Sleep(2 * idleRest)
			synctest.Wait()
			if p.own {
				rests++
				p.collected() // its own
			}
			p.collected()
		}
		assert.LessOrEqual(t, rests, 10, "in ten seconds")
		assert.Positive(t, rests)
	})
}

// What is given back must itself be no reason to give back again.
func TestRestEnds(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(idlePercent))
	synctest.Test(t, func(t *testing.T) {
		p := newPace(busyPercent)
		collect(p, 1, time.Second)
		time.Sleep(idleRest)
		synctest.Wait()
		assert.True(t, p.own, "it has rested")
		p.collected()
		assert.False(t, p.rest.Stop(), "nothing follows")
	})
}

func TestAlwaysStaysSmall(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	defer debug.SetGCPercent(debug.SetGCPercent(busyPercent))
	Always()
	assert.Equal(t, idlePercent, percent())
	assert.Equal(t, 1, runtime.GOMAXPROCS(0))
	synctest.Test(t, func(t *testing.T) {
		p := newPace(idlePercent)
		defer p.rest.Stop()
		collect(p, 10*busyTimes, time.Millisecond)
		assert.Equal(t, idlePercent, percent())
	})
}

func TestKeepSeesCollections(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(busyPercent))
	Keep()
	require.Equal(t, idlePercent, percent())
	// Collections without a pause are those of a process at work.
	require.Eventually(t, func() bool {
		runtime.GC()
		return percent() == busyPercent
	}, 20*time.Second, time.Millisecond)
}

func TestOperatorsChoiceStays(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	Keep()
	Always()
	assert.Equal(t, 77, percent())
}
