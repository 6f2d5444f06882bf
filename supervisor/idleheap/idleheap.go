// Package idleheap keeps the heap of a process small while it has little to do,
// without a cost while it has much.
//
// The collector's default lets a heap grow to 4 MiB, and to twice of what is in
// use, before it collects. That suits a process at work. One that is idle, as
// most of the cache's are most of the time, fills the 4 MiB with what probes and
// scrapes leave behind, and keeps them. Collecting there sooner, and giving back
// what is free, costs next to nothing, since there is so little of it.
//
// Whether a process is at work shows in how soon its collections follow each
// other. So this looks after each one, and does nothing between.
package idleheap

import (
	"runtime"
	"runtime/debug"
	"sync"
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
	// After a collection that no other follows for so long, what is free goes
	// back to the system: of a process that was idle, and of one that was at
	// work. The latter is long, so that work that pauses goes on as it was.
	idleRest = 100 * time.Millisecond
	busyRest = 10 * time.Second
	// between is the least time between two such, so that a process with some
	// work all the time spends well below 1 % of a processor on them.
	between = time.Second
)

// Always keeps the heap of this process small, whatever it does, and has it use
// one processor, for which there is one set of half-used pieces of heap. It is
// for a process that never has much to do.
func Always() {
	runtime.GOMAXPROCS(1)
	keep(idlePercent)
}

// Keep keeps the heap of this process small while it is idle, for as long as
// the process runs. An operator's GOGC is left as it is.
func Keep() { keep(busyPercent) }

// keep has a process that is at work collect at busy.
func keep(busy int) {
	set := debug.SetGCPercent(idlePercent)
	if set != busyPercent {
		debug.SetGCPercent(set) // the operator has set it
		return
	}
	p := newPace(busy)
	afterEach(p.collected)
}

// pace is how fast collections follow each other.
type pace struct {
	busy int
	rest *time.Timer

	mu      sync.Mutex
	percent int
	last    time.Time
	// quick is how many collections in a row followed each other soon.
	quick int
	// own says that the next collection is no sign of anything.
	own bool
	// before is when free memory was given back last.
	before time.Time
}

func newPace(busy int) *pace {
	p := &pace{busy: busy, percent: idlePercent, last: time.Now()}
	p.rest = time.AfterFunc(busyRest, p.rested)
	return p
}

// collected takes note of a collection.
func (p *pace) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own {
		p.own = false
		return
	}
	if time.Since(p.last) < busyBelow {
		p.quick++
	} else {
		p.quick = 0
	}
	p.last = time.Now()
	if p.quick >= busyTimes && p.percent != p.busy {
		p.percent = p.busy
		debug.SetGCPercent(p.busy)
	}
	if p.percent == idlePercent {
		p.rest.Reset(max(idleRest, time.Until(p.before.Add(between))))
	} else {
		p.rest.Reset(busyRest)
	}
}

// rested gives back what the process has no use for now.
func (p *pace) rested() {
	p.mu.Lock()
	p.percent, p.quick, p.own, p.before = idlePercent, 0, true, time.Now()
	debug.SetGCPercent(idlePercent)
	p.mu.Unlock()
	debug.FreeOSMemory() // collects first
}

// witness is unreachable as soon as it is made, so that its end says that there
// was a collection. It is large enough not to share its memory with other
// objects, which might live on.
type witness [32]byte

// afterEach has f called after each collection.
func afterEach(f func()) {
	runtime.AddCleanup(new(witness), func(f func()) {
		f()
		afterEach(f)
	}, f)
}
