package fill

import "slices"

// span is the bytes from (inclusive) to to (exclusive).
type span struct{ from, to int64 }

// spans are sorted and neither overlap nor touch. There are few of them: one,
// and one more for each connection and each place where a reader jumped in.
type spans []span

// search returns the index of the first span that ends after off.
func (s spans) search(off int64) int {
	i, _ := slices.BinarySearchFunc(s, off, func(sp span, off int64) int {
		if sp.to <= off {
			return -1
		}
		return 1
	})
	return i
}

// add puts the bytes from from to to in.
func (s spans) add(from, to int64) spans {
	if from >= to {
		return s
	}
	// Those that end at from or later and begin at to or earlier become one.
	first := s.search(from - 1)
	last := first
	for last < len(s) && s[last].from <= to {
		from, to = min(from, s[last].from), max(to, s[last].to)
		last++
	}
	return slices.Replace(s, first, last, span{from, to})
}

// until returns where the bytes that begin at off end; off when there are none.
func (s spans) until(off int64) int64 {
	if i := s.search(off); i < len(s) && s[i].from <= off {
		return s[i].to
	}
	return off
}

// gap returns the first bytes at or after off that are missing, up to end. It
// is empty when nothing is.
func (s spans) gap(off, end int64) span {
	off = s.until(off)
	if i := s.search(off); i < len(s) {
		end = min(end, s[i].from)
	}
	return span{off, max(off, end)}
}

// total is the number of bytes.
func (s spans) total() int64 {
	var n int64
	for _, sp := range s {
		n += sp.to - sp.from
	}
	return n
}
