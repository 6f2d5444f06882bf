package statuspage

import (
	"fmt"
	"math"
	"time"

	"registrycache/status"
)

// chart is the traffic of 7 days as bars in SVG. Across, it is in percent of
// its width, so that it fits any screen while its text stays as it is; down,
// in pixels.
type chart struct {
	Bars  []bar
	Lines []line
	Days  []mark
	Table []row
	Total status.Tally
	// Fetched is what had to come from upstreams.
	Fetched int64
	// Summary says in words what is to be seen.
	Summary string
}

const (
	stepHours = 3
	// plotTop and plotBottom are the largest value's and zero's.
	plotTop    = 12
	plotBottom = 208
)

// bar is what was sent in a step: the saved below, the fetched on top.
type bar struct {
	X, Width float64
	// Reach is the width of what belongs to it, gap included.
	Reach              float64
	SavedY, SavedH     float64
	FetchedY, FetchedH float64
	Title              string

	begin time.Time
	// position is the hour it begins with, of hours.
	position, hours int
	tally           status.Tally
}

// line is a value's height.
type line struct {
	Y     float64
	Label string
}

// mark is a day on the axis.
type mark struct {
	X, Middle     float64
	Weekday, Date string
	// Crowded is a label for which there is no room.
	Crowded bool
}

// row is a day in the table.
type row struct {
	Label string
	status.Tally
}

// Fetched is what had to come from upstreams.
func (r row) Fetched() int64 { return fetched(r.Tally) }

func fetched(t status.Tally) int64 { return max(t.Sent-t.Saved, 0) }

// Step, Top, Bottom, Tick and Height are for the template.
func (*chart) Step() int   { return stepHours }
func (*chart) Top() int    { return plotTop }
func (*chart) Bottom() int { return plotBottom }
func (*chart) Tick() int   { return plotBottom + 6 }
func (*chart) Height() int { return plotBottom - plotTop }

// newChart draws hours, which follow each other. It returns nil when there was
// no traffic.
func newChart(hours []status.Hour) *chart {
	c := new(chart)
	var largest int64
	for i, h := range hours {
		c.Total.Add(h.Tally)
		if n := len(c.Bars); n == 0 || h.Begin.Hour()%stepHours == 0 {
			c.Bars = append(c.Bars, bar{begin: h.Begin, position: i})
		}
		b := &c.Bars[len(c.Bars)-1]
		b.hours++
		b.tally.Add(h.Tally)
		largest = max(largest, b.tally.Sent)
		c.addDay(h, i)
	}
	if c.Total.Requests == 0 {
		return nil
	}
	c.Fetched = fetched(c.Total)
	top, parts := ceiling(largest)
	for i := range parts {
		value := top / int64(parts) * int64(i+1)
		c.Lines = append(c.Lines, line{plotBottom - height(value, top), size(value)})
	}
	for i := range c.Bars {
		c.Bars[i].draw(float64(len(hours)), top)
	}
	c.layDays(float64(len(hours)))
	c.summarise()
	return c
}

func (c *chart) addDay(h status.Hour, i int) {
	label := h.Begin.Format("Mon 2 Jan")
	if n := len(c.Table); n == 0 || c.Table[n-1].Label != label {
		c.Table = append(c.Table, row{Label: label})
		c.Days = append(c.Days, mark{X: float64(i), Weekday: h.Begin.Format("Mon"), Date: h.Begin.Format("2")})
	}
	c.Table[len(c.Table)-1].Add(h.Tally)
}

// barGap is the part of a step that is left free.
const barGap = 0.22

// draw sets where the bar is, on an axis of so many hours, up to top bytes.
func (b *bar) draw(axis float64, top int64) {
	b.X = round(float64(b.position) / axis * 100)
	b.Reach = round(float64(b.hours) / axis * 100)
	b.Width = round(float64(b.hours) / axis * 100 * (1 - barGap))
	saved := min(b.tally.Saved, b.tally.Sent)
	b.SavedH = height(saved, top)
	b.SavedY = plotBottom - b.SavedH
	b.FetchedH = height(b.tally.Sent-saved, top)
	b.FetchedY = round(b.SavedY - b.FetchedH)
	b.Title = fmt.Sprintf("%s to %s: %s from the cache, %s fetched",
		b.begin.Format("Mon 2 Jan, 15:04"), b.begin.Add(time.Duration(b.hours)*time.Hour).Format("15:04"),
		size(saved), size(b.tally.Sent-saved))
	if b.tally.Requests > 0 {
		b.Title += fmt.Sprintf("; %s hits of %s requests", ratio(b.tally), count(b.tally.Requests))
	}
}

// narrow is the part of a day below which there is no room for its name.
const narrow = 0.45

func (c *chart) layDays(axis float64) {
	for i := range c.Days {
		d := &c.Days[i]
		end := axis
		if i+1 < len(c.Days) {
			end = c.Days[i+1].X
		}
		hours := end - d.X
		d.Crowded = hours < narrow*24
		d.Middle = round((d.X + hours/2) / axis * 100)
		d.X = round(d.X / axis * 100)
	}
}

func (c *chart) summarise() {
	busiest := c.Table[0]
	for _, r := range c.Table {
		if r.Sent > busiest.Sent {
			busiest = r
		}
	}
	c.Summary = fmt.Sprintf("%s were sent, %s of them from the cache; most on %s, %s.",
		size(c.Total.Sent), percent(c.Total.Saved, c.Total.Sent), busiest.Label, size(busiest.Sent))
}

func height(value, top int64) float64 {
	return round(float64(value) / float64(top) * (plotBottom - plotTop))
}

// round keeps the page small: a hundredth is less than anybody sees.
func round(x float64) float64 { return math.Round(x*100) / 100 }

// ceiling is the smallest of 2^n and 3·2^n bytes that is not below n, and into
// how many parts it is divided by lines, each of which is a round number.
func ceiling(n int64) (top int64, parts int) {
	const smallest, largest = 1 << 10, 1 << 61
	for top = smallest; top < largest; top *= 2 {
		if n <= top {
			return top, 2
		}
		if half := top / 2 * 3; n <= half {
			return half, 3
		}
	}
	return largest, 2
}
