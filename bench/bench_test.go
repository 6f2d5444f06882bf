package bench

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSeriesAgainstGoal(t *testing.T) {
	s := newSeries("blob", "s/GiB", atMostTimes(1.2, nginx))
	require.Equal(t, "not measured", s.verdict())
	for _, v := range []float64{0.3, 0.1, 0.2} {
		s.add(ours, v)
	}
	for _, v := range []float64{0.1, 0.2} {
		s.add(nginx, v)
	}
	require.Equal(t, "0.200 (0.100-0.300)", s.cell(ours))
	require.Equal(t, "1.33 x nginx", s.ratio())
	require.Equal(t, "**no**", s.verdict())
	s.goal = atLeastTimes(1.3, nginx)
	require.Equal(t, "yes", s.verdict())
	s.goal = atMostOf(0.2)
	require.Equal(t, "at most 0.2 s/GiB", s.goal.describe(s.unit))
	require.Equal(t, "yes", s.verdict())
}

func TestPercentile(t *testing.T) {
	var load tally
	for i := 1000; i > 0; i-- {
		load.latencies = append(load.latencies, time.Duration(i))
	}
	require.Equal(t, time.Duration(501), load.percentile(50))
	require.Equal(t, time.Duration(991), load.percentile(99))
}

func TestReplaceMarked(t *testing.T) {
	text := "a\n<!-- hits: written by make bench -->\nold\n<!-- end of hits -->\nb\n"
	got, err := replaceMarked(text, "hits", "new\n")
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- hits: written by make bench -->\nnew\n<!-- end of hits -->\nb\n", got)
	_, err = replaceMarked(text, "misses", "new\n")
	require.ErrorContains(t, err, "misses")
}

func TestRepeaterRepeats(t *testing.T) {
	r := &repeater{block: []byte("abc"), size: 8}
	whole, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "abcabcab", string(whole))
	_, err = r.Seek(-4, io.SeekEnd)
	require.NoError(t, err)
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "bcab", string(rest))
}
