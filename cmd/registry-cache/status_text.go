package main

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"registrycache/status"
)

// text is the report for a person: tables with an empty line between them.
func (r statusReport) text() []byte {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for i, section := range [][]string{
		r.headline(), r.upstreams(), r.traffic(), r.busiest(), r.newest(), r.store(), r.fills(), r.processes(), r.problems(),
	} {
		if len(section) == 0 {
			continue
		}
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		for _, row := range section {
			_, _ = fmt.Fprintln(w, printable(row))
		}
		_ = w.Flush() // of memory
	}
	return out.Bytes()
}

// row is a line of a table.
func row(cells ...string) string {
	for i, cell := range cells {
		cells[i] = cleanExcept(' ', cell) // a tab would be another cell
	}
	return strings.Join(cells, "\t")
}

func (r statusReport) headline() []string {
	line := "registry-cache " + r.Version + " is " + r.State
	if r.Offline {
		line += " and offline"
	}
	return append([]string{line + ", up " + r.age(r.Since)}, r.Reasons...)
}

// age is how long ago t was, by the cache's clock.
func (r statusReport) age(t time.Time) string {
	return strings.TrimSpace(humanize.RelTime(t, r.Time, "", ""))
}

// ago is age with its preposition.
func (r statusReport) ago(t time.Time) string { return humanize.RelTime(t, r.Time, "ago", "from now") }

func (r statusReport) upstreams() []string {
	if len(r.Upstreams) == 0 {
		return []string{"No upstream is configured: add a registry to the pull secret or CONFIG_FILE."}
	}
	rows := []string{row("UPSTREAM", "STATE", "CIRCUIT", "CREDENTIALS", "RATE LIMIT LEFT", "LAST ERROR")}
	for _, u := range r.Upstreams {
		failure := "-"
		if u.Failure != nil {
			failure = r.ago(u.Failure.Time) + ": " + u.Failure.Text
		}
		rows = append(rows, row(u.Name, u.State, u.Circuit, u.Credentials, rateLimitText(u.RateLimit), failure))
	}
	return rows
}

func rateLimitText(limit *status.RateLimit) string {
	if limit == nil {
		return "-"
	}
	text := fmt.Sprintf("%s of %s", humanize.Comma(limit.Remaining), humanize.Comma(limit.Limit))
	if limit.Window > 0 {
		text += " in " + durationText(limit.Window.Duration())
	}
	return text
}

func (r statusReport) traffic() []string {
	switch {
	case r.Traffic == nil:
		return []string{"What was pulled is not known: the logger does not answer."}
	case len(r.Traffic.Upstreams) == 0:
		return []string{"Nothing was pulled yet."}
	}
	since := strings.ToUpper(r.Traffic.Since.Local().Format("2 Jan 2006"))
	rows := []string{row("PULLED FROM", "HITS TODAY", "SAVED", "HITS IN 7 DAYS", "SAVED", "HITS SINCE "+since, "SAVED")}
	var all status.UpstreamTraffic
	for _, u := range r.Traffic.Upstreams {
		rows = append(rows, trafficRow(r.upstream(u.Path), u))
		all.Today.Add(u.Today)
		all.Week.Add(u.Week)
		all.Total.Add(u.Total)
	}
	if len(r.Traffic.Upstreams) > 1 {
		rows = append(rows, trafficRow("all", all))
	}
	return rows
}

// upstream is the name of the one that a path stands for, which has no colon
// where the name has a port. What is no upstream any more is called by its path.
func (r statusReport) upstream(path string) string {
	for _, u := range r.Upstreams {
		if u.Path == path {
			return u.Name
		}
	}
	return path
}

func trafficRow(name string, t status.UpstreamTraffic) string {
	cells := []string{name}
	for _, tally := range []status.Tally{t.Today, t.Week, t.Total} {
		ratio, asked := tally.HitRatio()
		if !asked {
			cells = append(cells, "-", "-")
			continue
		}
		cells = append(cells, percentText(ratio)+" of "+humanize.Comma(tally.Requests), sizeText(tally.Saved))
	}
	return row(cells...)
}

// shownImages is how many of each kind a person is shown.
const shownImages = 5

func (r statusReport) busiest() []string {
	if r.Traffic == nil {
		return nil
	}
	return r.images("BUSIEST IN 7 DAYS", r.Traffic.Busiest)
}

func (r statusReport) newest() []string {
	if r.Traffic == nil {
		return nil
	}
	return r.images("NEWEST", r.Traffic.Newest)
}

func (r statusReport) images(title string, images []status.Image) []string {
	if len(images) == 0 {
		return nil
	}
	rows := []string{row(title, "PULLS", "LAST PULL", "FIRST PULL")}
	for _, image := range images[:min(len(images), shownImages)] {
		rows = append(rows, row(shortened(image.Name), humanize.Comma(image.Pulls), r.ago(image.Last), r.ago(image.First)))
	}
	return rows
}

// maxImageName is how long the name of an image is shown: what stands behind it
// must still be on the screen.
const maxImageName = 80

// shortened is a name with the digits of a digest that matter, and without its
// middle if it is long: its ends tell more.
func shortened(name string) string {
	if repository, of, byDigest := strings.Cut(name, "@"); byDigest {
		name = repository + "@" + briefDigest(of)
	}
	runes := []rune(name)
	if len(runes) <= maxImageName {
		return name
	}
	const half = (maxImageName - 1) / 2
	return string(runes[:maxImageName-1-half]) + "…" + string(runes[len(runes)-half:])
}

// percentText never says 100 % of what is not all.
func percentText(part float64) string { return fmt.Sprintf("%d %%", int(part*100)) }

func (r statusReport) fills() []string {
	if len(r.Fills) == 0 {
		return nil
	}
	rows := []string{row("FETCHING", "DIGEST", "PROGRESS", "SPEED", "LEFT", "READERS")}
	for _, f := range r.Fills {
		progress, left := sizeText(f.Have), "-"
		if f.Size > 0 {
			progress = percentText(float64(f.Have)/float64(f.Size)) + " of " + sizeText(f.Size)
			if f.Rate > 0 {
				left = (time.Duration((f.Size-f.Have)/f.Rate) * time.Second).String()
			}
		}
		rows = append(rows, row(f.Repository, briefDigest(f.Digest), progress, sizeText(f.Rate)+"/s", left, fmt.Sprint(f.Readers)))
	}
	return rows
}

func (r statusReport) processes() []string {
	rows := []string{row("PROCESS", "STATE", "PID", "UP", "RESTARTS", "MEMORY")}
	for _, p := range r.Processes {
		pid, up, memory := "-", "-", "-"
		if p.PID != 0 {
			pid, up = fmt.Sprint(p.PID), r.age(p.Since)
		}
		if p.Memory != 0 {
			memory = sizeText(p.Memory)
		}
		rows = append(rows, row(p.Name, p.State, pid, up, fmt.Sprint(p.Restarts), memory))
	}
	return rows
}

// shownProblems is how many a person is shown.
const shownProblems = 5

func (r statusReport) problems() []string {
	if len(r.Problems) == 0 {
		return nil
	}
	rows := []string{row("LAST PROBLEMS", "LEVEL", "PROCESS", "WHAT")}
	for _, p := range r.Problems[:min(len(r.Problems), shownProblems)] {
		what := p.Text
		if p.Error != "" {
			what += ": " + p.Error
		}
		if p.Count > 1 {
			what += " (" + humanize.Comma(int64(p.Count)) + " times)"
		}
		rows = append(rows, row(r.ago(p.Time), p.Level, p.Process, what))
	}
	if more := len(r.Problems) - shownProblems; more > 0 {
		rows = append(rows, fmt.Sprintf("and %d more, with --json", more))
	}
	return rows
}
