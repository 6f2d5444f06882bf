// Package idleheap keeps the heap of a process small while it has little to do,
// without a cost while it has much.
//
// The collector's default lets a heap grow to 4 MiB, and to twice of what is in
// use, before it collects. That suits a process at work. One that is idle, as
// most of the cache's are most of the time, fills the 4 MiB with what probes and
// scrapes leave behind, and keeps them. Collecting there sooner costs next to
// nothing, since there is so little to collect.
//
// Whether a process is at work shows in how soon its collections follow each
// other. So this looks after each one, and has no timer and no goroutine of its
// own. Go itself collects every two minutes when nothing else does, so that the
// end of work is seen, too.
package idleheap

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// idlePercent is GOGC for a process that is idle: its heap starts with 1 MiB.
	idlePercent = 25
	// busyPercent is Go's default.
	busyPercent = 100
	// busyBelow is the time between two collections that shows a process at work
	// if there are busyTimes such in a row: not one that has just started, or
	// that was asked something. The collections of one that stays just above it
	// take well below 1 % of a processor.
	busyBelow = 50 * time.Millisecond
	busyTimes = 8
	// idleAbove is the time between two collections, of at least 4 MiB, that
	// shows a process to be idle. It is long, so that work that pauses goes on as
	// it was.
	idleAbove = 10 * time.Second
)

// Always keeps the heap of this process small, whatever it does, and has it use
// one processor, for which there is one set of half-used pieces of heap. It is
// for a process that never has much to do.
func Always() {
	runtime.GOMAXPROCS(1)
	lower()
}

// Keep keeps the heap of this process small while it is idle, for as long as
// the process runs. An operator's GOGC is left as it is.
func Keep() {
	if lower() {
		p := &pace{percent: idlePercent, last: time.Now()}
		afterEach(p.collected)
	}
}

// lower makes it idlePercent, unless the operator has set it.
func lower() bool {
	set := debug.SetGCPercent(idlePercent)
	if set == busyPercent {
		return true
	}
	debug.SetGCPercent(set)
	return false
}

// pace is how fast collections follow each other. Only one goroutine at a time
// uses it.
type pace struct {
	percent int
	last    time.Time
	// quick is how many collections in a row followed each other soon.
	quick int
}

// collected takes note of a collection at now.
func (p *pace) collected(now time.Time) {
	since := now.Sub(p.last)
	if since < busyBelow {
		p.quick++
	} else {
		p.quick = 0
	}
	switch {
	case p.percent == idlePercent && p.quick >= busyTimes:
		p.percent = busyPercent
		debug.SetGCPercent(busyPercent)
	case p.percent == busyPercent && since > idleAbove:
		p.percent = idlePercent
		debug.SetGCPercent(idlePercent)
		// What work has left behind goes back to the system at once.
		debug.FreeOSMemory()
		now = time.Now()
	}
	p.last = now
}

// witness is unreachable as soon as it is made, so that its end says that there
// was a collection. It is large enough not to share its memory with other
// objects, which might live on.
type witness [32]byte

// afterEach has f called after each collection.
func afterEach(f func(time.Time)) {
	runtime.AddCleanup(new(witness), func(f func(time.Time)) {
		f(time.Now())
		afterEach(f)
	}, f)
}
