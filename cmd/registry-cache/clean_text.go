package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"registrycache/cleaner"
	"registrycache/config"
)

// cleanText is a clean, or what one would do, for people.
type cleanText struct {
	report cleaner.Report
	set    config.Cleaner
	flags  *cleanFlags
}

func (c cleanText) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r := c.report
	if r.Blobs > 0 {
		_, _ = fmt.Fprintln(w, "NAME\tSIZE\tLAST USED\tWHY")
		for _, image := range r.Images {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", image.Name, sizeText(image.Size), humanize.Time(image.Used), c.why(image))
		}
		if r.Loose > 0 {
			_, _ = fmt.Fprintf(w, "%s\t%s\t\t\n", "(blobs of no image)", sizeText(r.Loose))
		}
		_, _ = fmt.Fprintln(w)
	}
	for _, line := range c.lines() {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
	}
	return w.Flush()
}

// why says why an image goes.
func (c cleanText) why(e cleaner.Evicted) string {
	switch e.Why {
	case cleaner.OverQuota:
		path, _, _ := strings.Cut(e.Name, "/")
		return "over the quota of " + path
	case cleaner.DiskShort:
		return "the disk is short"
	case cleaner.Unused:
		return "unused for " + durationText(c.set.MaxAge)
	}
	if c.flags.to.given {
		return "--to " + c.flags.to.text
	}
	return "over the limit"
}

// lines are the totals: what of the store, and how it stands.
func (c cleanText) lines() (lines [][2]string) {
	add := func(what, format string, args ...any) {
		lines = append(lines, [2]string{what, fmt.Sprintf(format, args...)})
	}
	r := c.report
	went := fmt.Sprintf("%s, %s in %s", counted(len(r.Images), "image"), sizeText(r.Before-r.After), counted(r.Blobs, "blob"))
	switch {
	case r.Blobs > 0 && c.flags.dryRun:
		add("would go", "%s", went)
	case r.Blobs > 0:
		add("gone", "%s; took %s", went, r.Took.Round(time.Millisecond))
	case r.Missing > 0:
		add("gone", "nothing, as nothing may go that could")
	case c.flags.to.given:
		add("gone", "nothing: the store is not larger")
	default:
		add("gone", "nothing: nothing is due")
	}
	if r.Missing > 0 {
		add("missing", "%s more should go and may not", sizeText(r.Missing))
	}
	if s := r.Swept; s.Links+s.Uploads+s.Files > 0 {
		add("swept", "%s that led nowhere, %s, %s", counted(s.Links, "link"), counted(s.Uploads, "abandoned push"), counted(s.Files, "temporary file"))
	}
	if r.Blobs > 0 {
		add("store", "%s, was %s", sizeText(r.After), sizeText(r.Before))
	} else {
		add("store", "%s", sizeText(r.After))
	}
	if c.flags.to.given {
		add("target", "%s", sizeText(c.flags.to.bytes))
	} else {
		c.addLimits(add)
	}
	if len(c.set.Pins) > 0 {
		add("pins", "%s, %s", counted(len(c.set.Pins), "pattern"), c.keeping(r.Pinned))
	}
	if !r.Oldest.IsZero() {
		add("used", "first %s, last %s", humanize.Time(r.Oldest), humanize.Time(r.Newest))
	}
	return lines
}

// addLimits adds what the settings call for.
func (c cleanText) addLimits(add func(what, format string, args ...any)) {
	limit := c.set.MaxSize
	add("limit", "%s, cleaned above %s", sizeText(limit), sizeText(cleaner.Threshold(limit, c.set.ThresholdPercent)))
	for _, q := range c.report.Quotas {
		add("quota", "%s, %s had %s", sizeText(q.Limit), q.Path, sizeText(q.Size))
	}
	if c.set.MaxAge > 0 {
		add("age", "%s", durationText(c.set.MaxAge))
	}
	free := sizeText(c.report.DiskFree) + " free, "
	switch {
	case c.set.MinFreeBytes > 0:
		add("disk", "%scleaned below %s", free, sizeText(c.set.MinFreeBytes))
	case c.set.MinFreePercent > 0:
		add("disk", "%scleaned below %s %%", free, strconv.FormatFloat(c.set.MinFreePercent, 'f', -1, 64))
	default:
		add("disk", "%sas much as may be", free)
	}
}

// keeping says how much stays, which is found out only if something is to go.
func (c cleanText) keeping(bytes int64) string {
	if bytes == 0 && c.report.Blobs == 0 && c.report.Missing == 0 {
		return "in force"
	}
	return "keeping " + sizeText(bytes)
}

func sizeText(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "sh") {
		what += "e"
	}
	return humanize.Comma(int64(n)) + " " + what + "s"
}

// durationText shows whole days as such.
func durationText(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func printJSON(out io.Writer, value any) error {
	return json.NewEncoder(out).Encode(value)
}
