package fill

import (
	"math"
	"slices"
)

// claim is the bytes that one stream fetches: no other stream asks for them.
type claim struct {
	pos int64 // of the next byte to be written
	end int64 // exclusive; may come closer when a reader waits far ahead
}

// schedule decides which bytes are asked of the upstream next. The transfer's
// lock guards it.
//
// The first request is for the first ParallelFrom bytes that are missing: it
// tells the size and whether the upstream takes ranges, suffices for most blobs,
// and costs nothing extra where ranges are ignored. From then on a connection
// that is free takes what a waiting reader needs, or else what is missing
// closest ahead of any reader.
type schedule struct {
	answered bool // the upstream has answered once
	// ranged says that the upstream takes ranges, plain that it must not be
	// asked for any.
	ranged, plain bool
	claims        []*claim
	// limit is how many streams there may be. It falls when the upstream
	// refuses some while it serves others.
	limit int
	// pausing is the number of streams that wait before they try again.
	pausing int
	// changed and refused are how many answers in a row had another size, or
	// said that the range won't do.
	changed, refused int
	retries          retries
}

func newSchedule(o Options) schedule {
	return schedule{limit: o.Connections, retries: retries{max: o.MaxTries}}
}

// spread starts streams as long as there is something for them to do. It is
// called when that may have changed: the upstream answered, a reader waits, a
// stream is done.
func (t *transfer) spread() {
	s := &t.schedule
	if s.pausing > 0 {
		return // who waits will ask first
	}
	running := &t.engine.streams
	for len(s.claims) < s.limit {
		crowded := running.Add(1) > int64(t.engine.opt.MaxConnections)
		if crowded && len(s.claims) > 0 {
			running.Add(-1)
			return
		}
		c := t.next(t.engine.opt.SegmentSize)
		if c == nil {
			running.Add(-1)
			return
		}
		t.streams.Go(func() {
			defer running.Add(-1)
			t.stream(c)
		})
	}
}

// next claims bytes for a free connection, about length of them where that is
// its choice, or returns nil when there is nothing for it to do.
func (t *transfer) next(length int64) *claim {
	s := &t.schedule
	if t.isSettled() {
		return nil
	}
	if !s.answered || !s.ranged {
		if len(s.claims) > 0 {
			return nil
		}
		gap := t.free(0)
		if !s.answered && !s.plain {
			gap.to = min(gap.to, gap.from+t.engine.opt.ParallelFrom)
		}
		return t.claim(gap)
	}
	if gap, ok := t.wanted(); ok {
		return t.claim(t.segment(gap, length))
	}
	large := t.size >= t.engine.opt.ParallelFrom
	switch {
	case large:
		return t.claim(t.segment(t.nearest(), length))
	case len(s.claims) == 0:
		return t.claim(t.nearest())
	}
	return nil
}

func (t *transfer) claim(gap span) *claim {
	if gap.from >= gap.to {
		return nil
	}
	c := &claim{pos: gap.from, end: gap.to}
	t.schedule.claims = append(t.schedule.claims, c)
	return c
}

func (t *transfer) unclaim(c *claim) {
	t.schedule.claims = slices.DeleteFunc(t.schedule.claims, func(o *claim) bool { return o == c })
}

// segment is the first length bytes of the gap, or all when little more is left.
// Towards the end of the blob it is less, so that all connections end together.
func (t *transfer) segment(gap span, length int64) span {
	free := t.size - t.taken().total()
	length = max(min(length, free/int64(t.schedule.limit)), t.engine.opt.SegmentSize)
	if gap.to-gap.from > length+length/2 {
		gap.to = gap.from + length
	}
	return gap
}

// free returns the first bytes at or after off that are neither there nor
// claimed.
func (t *transfer) free(off int64) span {
	end := t.size
	if end < 0 {
		end = math.MaxInt64
	}
	return t.taken().gap(off, end)
}

// taken returns the bytes that are there or claimed.
func (t *transfer) taken() spans {
	if len(t.schedule.claims) == 0 {
		return t.have
	}
	taken := slices.Clone(t.have)
	for _, c := range t.schedule.claims {
		taken = taken.add(c.pos, c.end)
	}
	return taken
}

// wanted returns the bytes from where a reader waits and no stream will come by
// soon. When one would come by late, its claim ends there from now on.
func (t *transfer) wanted() (span, bool) {
	for _, r := range t.waiting {
		off := r.off.Load()
		if t.have.until(off) > off {
			continue // it waits for the digest
		}
		c := t.claimOf(off)
		if c != nil && off-c.pos <= t.engine.opt.SegmentSize {
			continue
		}
		if c != nil {
			c.end = off
		}
		return t.free(off), true
	}
	return span{}, false
}

func (t *transfer) claimOf(off int64) *claim {
	for _, c := range t.schedule.claims {
		if c.pos <= off && off < c.end {
			return c
		}
	}
	return nil
}

// nearest returns the free bytes that a reader will need first, or the first of
// all when there is no reader.
func (t *transfer) nearest() span {
	var best span
	distance := int64(math.MaxInt64)
	for r := range t.readers {
		off := r.off.Load()
		if gap := t.free(off); gap.from < gap.to && gap.from-off < distance {
			best, distance = gap, gap.from-off
		}
	}
	if distance == math.MaxInt64 {
		return t.free(0)
	}
	return best
}

// extend gives a stream whose body goes on the next free bytes that the body
// will come to. It reports false when there are none.
func (t *transfer) extend(c *claim) bool {
	gap := t.free(c.end)
	if gap.from >= gap.to {
		return false
	}
	c.pos, c.end = gap.from, gap.to
	return true
}
