package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"registrycache/warm"
)

// warmSummary is what became of the images, for people and for programs.
type warmSummary struct {
	report warm.Report
	cache  string
	dryRun bool
}

func (s warmSummary) table(to io.Writer) error {
	out := bufio.NewWriter(to)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fetched := "FETCHED"
	if s.dryRun {
		fetched = "TO FETCH"
	}
	_, _ = fmt.Fprintf(w, "IMAGE\tPLATFORMS\tBLOBS\tSIZE\t%s\tALREADY HERE\tTIME\tRESULT\n", fetched)
	terminal := isTerminal(to)
	for _, r := range s.report.Images {
		platforms := joined(r.Platforms, terminal)
		if platforms == "" {
			platforms = "-"
		}
		cells := []string{
			r.Image.Name, platforms, fmt.Sprint(r.Blobs), sizeText(r.Size), sizeText(r.Fetched), sizeText(r.Here),
			tookText(r.Took), s.resultText(r),
		}
		_, _ = fmt.Fprintln(w, printable(strings.Join(cells, "\t")))
	}
	_ = w.Flush() // of memory
	_, _ = fmt.Fprintf(out, "\n%s\n", s.totals())
	return out.Flush()
}

// The words for what became of an image, which --json has, too.
const (
	warmFetched = "fetched"
	warmHere    = "already here"
	warmWould   = "to be fetched"
	warmFailed  = "failed"
)

func (s warmSummary) outcome(r warm.Result) string {
	switch {
	case r.Err != nil:
		return warmFailed
	case r.Fetched == 0:
		return warmHere
	case s.dryRun:
		return warmWould
	}
	return warmFetched
}

func (s warmSummary) resultText(r warm.Result) string {
	text := s.outcome(r)
	if r.Err != nil {
		text += ": " + r.Err.Error()
	}
	if len(r.Notes) > 0 {
		text += " (" + strings.Join(r.Notes, "; ") + ")"
	}
	return text
}

func (s warmSummary) totals() string {
	var fetched, here int64
	for _, r := range s.report.Images {
		fetched += r.Fetched
		here += r.Here
	}
	verb := "fetched"
	if s.dryRun {
		verb = "to fetch"
	}
	text := fmt.Sprintf("%s: %s %s, %s already here, in %s", counted(len(s.report.Images), "image"),
		sizeText(fetched), verb, sizeText(here), tookText(s.report.Took))
	if n := s.report.Failed(); n > 0 {
		text += fmt.Sprintf("; %d failed", n)
	}
	return text
}

// tookText is a duration, no finer than it matters.
func tookText(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// warmJSON is what --json prints. The fields are documented in the README and
// stay.
type warmJSON struct {
	Cache   string          `json:"cache"`
	DryRun  bool            `json:"dryRun"`
	Images  []warmImageJSON `json:"images"`
	Failed  int             `json:"failed"`
	Seconds float64         `json:"seconds"`
}

type warmImageJSON struct {
	Name string `json:"name"`
	// Repository and Reference are by which the cache was asked.
	Repository string   `json:"repository"`
	Reference  string   `json:"reference"`
	Platforms  []string `json:"platforms"`
	Blobs      int      `json:"blobs"`
	Size       int64    `json:"sizeBytes"`
	Fetched    int64    `json:"fetchedBytes"`
	Here       int64    `json:"alreadyHereBytes"`
	Seconds    float64  `json:"seconds"`
	Result     string   `json:"result"`
	Error      string   `json:"error,omitempty"`
	Notes      []string `json:"notes,omitempty"`
}

func (s warmSummary) json() warmJSON {
	all := warmJSON{
		Cache: s.cache, DryRun: s.dryRun, Images: []warmImageJSON{}, Failed: s.report.Failed(),
		Seconds: s.report.Took.Seconds(),
	}
	for _, r := range s.report.Images {
		row := warmImageJSON{
			Name: r.Image.Name, Repository: r.Image.Repository, Reference: r.Image.Reference, Platforms: r.Platforms,
			Blobs: r.Blobs, Size: r.Size, Fetched: r.Fetched, Here: r.Here, Seconds: r.Took.Seconds(),
			Result: s.outcome(r), Notes: r.Notes,
		}
		if row.Platforms == nil {
			row.Platforms = []string{}
		}
		if r.Err != nil {
			row.Error = r.Err.Error()
		}
		all.Images = append(all.Images, row)
	}
	return all
}
