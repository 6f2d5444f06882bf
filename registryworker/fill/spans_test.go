package fill

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// spans must agree with one bool a byte.
func TestSpans(t *testing.T) {
	const size = 60
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var s spans
		var bits [size]bool
		for range rnd.IntN(12) {
			from := rnd.Int64N(size)
			to := from + rnd.Int64N(size-from+1)
			s = s.add(from, to)
			for i := from; i < to; i++ {
				bits[i] = true
			}
			last := int64(-1)
			for _, sp := range s {
				require.Less(t, last, sp.from, "%v", s)
				require.Less(t, sp.from, sp.to, "%v", s)
				last = sp.to
			}
		}
		total := int64(0)
		for _, b := range bits {
			if b {
				total++
			}
		}
		require.Equal(t, total, s.total())
		for off := range int64(size) {
			until := off
			for until < size && bits[until] {
				until++
			}
			require.Equal(t, until, s.until(off), "%v at %d", s, off)
			gap := span{until, until}
			for gap.to < size && !bits[gap.to] {
				gap.to++
			}
			require.Equal(t, gap, s.gap(off, size), "%v at %d", s, off)
		}
	}
}

func TestSpansAddKeepsItsArgument(t *testing.T) {
	s := spans{{0, 10}, {20, 30}}
	c := slices.Clone(s)
	_ = c.add(5, 25)
	require.Equal(t, spans{{0, 10}, {20, 30}}, s)
}
