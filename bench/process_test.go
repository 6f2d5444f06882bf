package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// tick is the unit of processor time in /proc (proc(5), stat) on every Linux.
const tick = 10 * time.Millisecond

// family are the server's processes, children included.
func (s *server) family(b *testing.B) procfs.Procs {
	b.Helper()
	all, err := procfs.AllProcs()
	require.NoError(b, err)
	children := map[int]procfs.Procs{}
	var family procfs.Procs
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || stat.State == "Z" {
			continue // it ended meanwhile
		}
		if slices.Contains(s.roots, p.PID) {
			family = append(family, p)
		} else {
			children[stat.PPID] = append(children[stat.PPID], p)
		}
	}
	require.Len(b, family, len(s.roots), "all processes of %s run", s.name)
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i].PID]...)
	}
	return family
}

// cpu is the processor time that the server's processes have used so far,
// those that ended included.
func (s *server) cpu(b *testing.B) time.Duration {
	b.Helper()
	var ticks int64
	for _, p := range s.family(b) {
		stat, err := p.Stat()
		require.NoError(b, err)
		ticks += int64(stat.UTime) + int64(stat.STime) + int64(stat.CUTime) + int64(stat.CSTime)
	}
	return time.Duration(ticks) * tick
}

// cpuOf is the processor time that f costs the server, with what it goes on
// doing afterwards: logs are written and followed when the request is over.
func (s *server) cpuOf(b *testing.B, f func()) time.Duration {
	b.Helper()
	s.calm(b)
	before := s.cpu(b)
	f()
	s.calm(b)
	return s.cpu(b) - before
}

// calm waits until the server is idle.
func (s *server) calm(b *testing.B) {
	b.Helper()
	last := s.cpu(b)
	harness.Within(harness.Patience/3, func() bool {
		time.Sleep(rest)
		now := s.cpu(b)
		idle := now == last
		last = now
		return idle
	})
}

// memory is what the server's processes occupy, in bytes.
type memory struct {
	// proportional is the PSS: what is shared is divided among those who share.
	proportional uint64
	// anonymous is the part of it that is no file's.
	anonymous uint64
	// largest is the RSS of the process that has most.
	largest uint64
}

func (s *server) memory(b *testing.B) memory {
	b.Helper()
	var sum memory
	for _, p := range s.family(b) {
		rollup, err := p.ProcSMapsRollup()
		require.NoError(b, err)
		sum.proportional += rollup.Pss
		sum.anonymous += rollup.Anonymous
		sum.largest = max(sum.largest, rollup.Rss)
	}
	return sum
}

// peak samples the memory every tenth of a second until done is closed, and
// returns the highest values.
func (s *server) peak(b *testing.B, done <-chan struct{}) memory {
	b.Helper()
	var highest memory
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		now := s.memory(b)
		highest.proportional = max(highest.proportional, now.proportional)
		highest.anonymous = max(highest.anonymous, now.anonymous)
		highest.largest = max(highest.largest, now.largest)
		select {
		case <-done:
			return highest
		case <-ticker.C:
		}
	}
}
