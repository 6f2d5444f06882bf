package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"registrycache/status"
)

// store says what is kept, and when something goes.
func (r statusReport) store() []string {
	var rows []string
	if s := r.Store; s == nil {
		rows = append(rows, row("store", "not known: the cleaner does not answer"))
	} else {
		rows = append(rows, row("store", usageText(*s)), row("disk", diskText(*s)), row("clean", r.cleanText(*s)))
		for _, q := range s.Quotas {
			rows = append(rows, row("quota", fmt.Sprintf("%s of %s for %s", sizeText(q.Used), sizeText(q.Limit), r.upstream(q.Path))))
		}
	}
	if h := r.Hosted; h != nil {
		rows = append(rows, row("pushed", fmt.Sprintf("%s in %s with %s, below %s/",
			sizeText(h.Used), repositoriesText(h.Repositories), counted(h.Tags, "tag"), h.Prefix)))
	}
	return rows
}

func repositoriesText(n int) string {
	if n == 1 {
		return "1 repository"
	}
	return humanize.Comma(int64(n)) + " repositories"
}

func usageText(s status.Store) string {
	switch {
	case s.Time.IsZero():
		return "not measured yet"
	case s.Limit <= 0:
		return sizeText(s.Used) + ", without a limit"
	}
	part := float64(s.Used) / float64(s.Limit)
	return fmt.Sprintf("%s %s of %s, %s; cleaned above %s",
		barText(part), sizeText(s.Used), sizeText(s.Limit), percentText(part), sizeText(s.Start))
}

// barWidth is how many characters stand for the whole.
const barWidth = 20

// barText is a part of 1 as a bar, which is full also where it is more.
func barText(part float64) string {
	full := min(max(int(part*barWidth), 0), barWidth)
	if full == 0 && part > 0 {
		full = 1
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
}

func diskText(s status.Store) string {
	text := fmt.Sprintf("%s free of %s", sizeText(s.DiskFree), sizeText(s.DiskSize))
	if s.MinFree > 0 {
		text += "; cleaned below " + sizeText(s.MinFree)
	}
	return text
}

func (r statusReport) cleanText(s status.Store) string {
	text := "not planned"
	switch {
	case s.Running:
		text = "under way"
	case !s.Next.IsZero() && s.Next.After(r.Time):
		text = "due in " + r.age(s.Next)
	case !s.Next.IsZero():
		text = "due now"
	}
	last := s.Last
	if last == nil {
		return text
	}
	text += fmt.Sprintf("; the last one that had to, %s, removed %s in %s and took %s",
		r.ago(last.Time), sizeText(last.Before-last.After), counted(last.Images, "image"), tookText(last.Took.Duration()))
	if last.Missing > 0 {
		text += "; " + sizeText(last.Missing) + " more should have gone"
	}
	if last.Error != "" {
		text += "; it failed: " + last.Error
	}
	return text
}
