package idleheap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// percent is what GOGC is at present.
func percent() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}

// collect has collections at the times after the last.
func collect(p *pace, times int, after time.Duration) {
	for range times {
		p.collected(p.last.Add(after))
	}
}

func TestPace(t *testing.T) {
	defer debug.SetGCPercent(percent())
	debug.SetGCPercent(idlePercent)
	p := &pace{percent: idlePercent, last: time.Now()}

	collect(p, busyTimes-1, time.Millisecond)
	assert.Equal(t, idlePercent, percent(), "it has just started")
	collect(p, 1, time.Minute)
	collect(p, busyTimes-1, time.Millisecond)
	assert.Equal(t, idlePercent, percent(), "it was asked something")
	collect(p, 1, time.Millisecond)
	assert.Equal(t, busyPercent, percent(), "it is at work")

	collect(p, 100, idleAbove)
	assert.Equal(t, busyPercent, percent(), "work that pauses")
	collect(p, 1, 2*time.Minute)
	assert.Equal(t, idlePercent, percent(), "work has ended")
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

func TestAlways(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	defer debug.SetGCPercent(debug.SetGCPercent(busyPercent))
	Always()
	assert.Equal(t, idlePercent, percent())
	assert.Equal(t, 1, runtime.GOMAXPROCS(0))
}

func TestOperatorsChoiceStays(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	Keep()
	Always()
	assert.Equal(t, 77, percent())
}
