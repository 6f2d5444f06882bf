package statuspage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/router/statuspage/pagetest"
	"registrycache/status"
)

func TestChartAddsUp(t *testing.T) {
	hours := pagetest.Example(noon).Traffic.Hours
	c := newChart(hours)
	var sent, saved int64
	for _, h := range hours {
		sent += h.Sent
		saved += h.Saved
	}
	assert.Equal(t, sent, c.Total.Sent)
	assert.Equal(t, sent-saved, c.Fetched)

	var drawn, table int64
	end := 0.0
	for _, b := range c.Bars {
		drawn += b.tally.Sent
		assert.InDelta(t, end, b.X, 0.05, "one follows the other")
		end = b.X + b.Reach
		assert.Less(t, b.Width, b.Reach)
		assert.GreaterOrEqual(t, b.FetchedY, float64(plotTop))
		assert.InDelta(t, plotBottom, b.SavedY+b.SavedH, 0.02)
		assert.InDelta(t, b.SavedY, b.FetchedY+b.FetchedH, 0.02)
	}
	assert.InDelta(t, 100, end, 0.05)
	for _, r := range c.Table {
		table += r.Sent
	}
	assert.Equal(t, sent, drawn)
	assert.Equal(t, sent, table)
	require.Len(t, c.Table, 8, "seven days from noon touch eight")
	assert.Len(t, c.Days, 8)
	assert.Contains(t, c.Summary, "of them from the cache; most on ")
	assert.Contains(t, c.Bars[1].Title, "Fri 13 Nov, 15:00 to 18:00: ")
}

func TestChartOfNothing(t *testing.T) {
	assert.Nil(t, newChart(nil))
	assert.Nil(t, newChart([]status.Hour{{Begin: noon}}))
}

func TestChartOfOneHour(t *testing.T) {
	c := newChart([]status.Hour{{Begin: noon, Tally: status.Tally{Requests: 1}}})
	require.Len(t, c.Bars, 1)
	assert.Zero(t, c.Bars[0].SavedH)
	assert.InDelta(t, 100, c.Bars[0].Reach, 0)
}

// A day that the clocks are changed on has 23 or 25 hours.
func TestChartFollowsTheClock(t *testing.T) {
	zone := time.FixedZone("", 60*60)
	var hours []status.Hour
	for i := range 24 {
		begin := noon.Truncate(day).Add(time.Duration(i) * time.Hour).In(zone)
		hours = append(hours, status.Hour{Begin: begin, Tally: status.Tally{Requests: 1, Sent: 1}})
	}
	c := newChart(hours)
	assert.Equal(t, 2, c.Bars[0].hours, "01:00 to 03:00")
	assert.Equal(t, 3, c.Bars[1].hours)
	assert.Len(t, c.Days, 2)
	assert.True(t, c.Days[1].Crowded, "an hour has no room for a name")
}

func TestCeiling(t *testing.T) {
	for n, want := range map[int64]int64{
		0: 1 << 10, 1 << 10: 1 << 10, 1<<10 + 1: 3 << 9, 3<<9 + 1: 2 << 10, 5 << 30: 6 << 30, 7 << 30: 8 << 30, 1 << 62: 1 << 61,
	} {
		top, parts := ceiling(n)
		assert.Equal(t, want, top, n)
		assert.Zero(t, top%int64(parts))
	}
}
