package statuspage

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"registrycache/status"
)

// Tones are classes in the style sheet.
const (
	toneGood = "good"
	toneWarn = "warn"
	toneBad  = "bad"
	toneIdle = "idle"
)

// words are the functions of the templates.
var words = template.FuncMap{
	"asHTML": func(rendered string) template.HTML { return template.HTML(rendered) }, // a template made it
	"tone":   tone, "bytes": size, "quantity": quantity, "count": count, "ratio": ratio, "percent": percent,
	"gauge": newGauge, "headroom": headroom, "at": newMoment, "ago": ago, "since": since, "until": until,
	"clock": clock, "stamp": stamp, "span": span, "plural": plural, "short": short, "left": timeLeft,
	"pull": newPulled, "breakable": breakable,
	"minus": func(a, b int64) int64 { return a - b },
}

// tone is how bad a state or a level of the log is.
func tone(state string) string {
	switch state {
	case "ok", "ready":
		return toneGood
	case "unavailable", "error", "fatal", "panic", "silent", noAnswer:
		return toneBad
	}
	return toneWarn
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// quantity is a size whose unit may be set in other type.
func quantity(n int64) template.HTML {
	number, unit, _ := strings.Cut(size(n), " ")
	return template.HTML(number + `<span class="unit"> ` + unit + `</span>`) // a number and a unit
}

// count takes the kinds of integers that the state has.
func count(n any) string {
	switch n := n.(type) {
	case int:
		return humanize.Comma(int64(n))
	case int64:
		return humanize.Comma(n)
	}
	return fmt.Sprint(n)
}

// plural is for the same.
func plural(n any, one, many string) string {
	if count(n) == "1" {
		return one
	}
	return many
}

// ratio is the share of hits.
func ratio(t status.Tally) string {
	r, ok := t.HitRatio()
	if !ok {
		return "–"
	}
	return share(r)
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return share(float64(part) / float64(whole))
}

// share is in percent. Only all is 100, and only nothing is 0.
func share(r float64) string {
	p := r * 100
	switch {
	case p == 0:
		return "0 %"
	case p < 0.1:
		return "< 0.1 %"
	case p > 99.9 && p < 100:
		return "99.9 %"
	case p >= 100, p == math.Trunc(p):
		return fmt.Sprintf("%.0f %%", p)
	}
	return fmt.Sprintf("%.1f %%", p)
}

// moment is a time, and the time it is seen from.
type moment struct{ Time, Now time.Time }

func newMoment(t, now time.Time) moment { return moment{t, now} }

func ago(m moment) string {
	if d := m.Now.Sub(m.Time); d >= time.Minute {
		return span(d) + " ago"
	}
	return "just now"
}

func since(m moment) string {
	if d := m.Now.Sub(m.Time); d >= time.Minute {
		return span(d)
	}
	return "under 1 min"
}

func until(m moment) string {
	if d := m.Time.Sub(m.Now); d >= time.Minute {
		return "in " + span(d)
	}
	return "within a minute"
}

const day = 24 * time.Hour

// span is a duration in its two largest units.
func span(d time.Duration) string {
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%d d", d/day)
	case d >= day:
		return pair(int(d/day), "d", int(d%day/time.Hour), "h")
	case d >= time.Hour:
		return pair(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	case d >= 10*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d >= time.Minute:
		return pair(int(d/time.Minute), "min", 0, "")
	case d >= time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", max(d, 0)/time.Millisecond)
}

func pair(n int, unit string, m int, small string) string {
	if m == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, m, small)
}

// timeLeft is how long a fill takes on at its speed, empty when that says
// nothing.
func timeLeft(f status.Fill) string {
	if f.Rate <= 0 || f.Size < 0 {
		return ""
	}
	d := time.Duration(float64(max(f.Size-f.Have, 0)) / float64(f.Rate) * float64(time.Second))
	return span(max(d, time.Second))
}

// clock is a time in full, in the zone of whoever noted it.
func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	zone := t.Format("MST")
	if strings.HasPrefix(zone, "+") || strings.HasPrefix(zone, "-") {
		zone = "UTC" + t.Format("-07:00")
	}
	return t.Format("2006-01-02 15:04:05 ") + zone
}

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

// short is a digest as people tell them apart.
func short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(len(hex), 12)]
}

// breaks is where a long name may go on in the next line.
var breaks = strings.NewReplacer("/", "/<wbr>", ".", ".<wbr>", "_", "_<wbr>")

// breakable is a name that fits a narrow screen.
func breakable(name string) template.HTML {
	return template.HTML(breaks.Replace(template.HTMLEscapeString(name))) // escaped
}

// pulled is an image and how to pull it.
type pulled struct {
	// Name is without the digest, if it was pulled by one.
	Name, Digest string
	Pulls        int64
	First, Last  time.Time
	Now          time.Time
	Command      string
}

func newPulled(v *view, image status.Image) pulled {
	p := pulled{Pulls: image.Pulls, First: image.First, Last: image.Last, Now: v.Now, Command: v.Place.pullCommand(image.Name)}
	p.Name, p.Digest, _ = strings.Cut(image.Name, "@")
	return p
}
