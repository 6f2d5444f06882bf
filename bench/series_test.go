package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// series is one figure of the report: what every contestant reached in each
// round.
type series struct {
	what, unit string
	goal       goal
	samples    map[string][]float64
}

func newSeries(what, unit string, g goal) *series {
	return &series{what: what, unit: unit, goal: g, samples: map[string][]float64{}}
}

func (s *series) add(contestant string, value float64) {
	s.samples[contestant] = append(s.samples[contestant], value)
}

func (s *series) median(contestant string) (float64, bool) {
	samples := slices.Sorted(slices.Values(s.samples[contestant]))
	n := len(samples)
	if n == 0 {
		return 0, false
	}
	return (samples[(n-1)/2] + samples[n/2]) / 2, true
}

// cell is the median, with the lowest and the highest where they differ.
func (s *series) cell(contestant string) string {
	median, ok := s.median(contestant)
	if !ok {
		return ""
	}
	samples := s.samples[contestant]
	low, high := number(slices.Min(samples)), number(slices.Max(samples))
	if low == high {
		return number(median)
	}
	return fmt.Sprintf("%s (%s-%s)", number(median), low, high)
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// show makes the medians those of the benchmark, for benchstat.
func (s *series) show(b *testing.B) {
	for contestant := range s.samples {
		median, _ := s.median(contestant)
		b.ReportMetric(median, strings.ReplaceAll(contestant+":"+s.what+":"+s.unit, " ", "-"))
	}
}

// goal is what a series should reach.
type goal struct {
	bound bound
	limit float64
	// of is the contestant whose median is the unit of the limit; with none it
	// is the unit of the series.
	of string
}

type bound int

const (
	noBound bound = iota
	atMost
	atLeast
)

// none is for figures that are only shown, beside that of another contestant
// if there is one to compare with.
func none(of string) goal { return goal{of: of} }

func atMostTimes(limit float64, of string) goal  { return goal{atMost, limit, of} }
func atLeastTimes(limit float64, of string) goal { return goal{atLeast, limit, of} }
func atMostOf(limit float64) goal                { return goal{atMost, limit, ""} }

func (g goal) describe(unit string) string {
	if g.bound == noBound {
		return ""
	}
	text := "at most "
	if g.bound == atLeast {
		text = "at least "
	}
	if g.of == "" {
		return text + fmt.Sprint(g.limit) + " " + unit
	}
	return text + fmt.Sprint(g.limit) + " x " + g.of
}

// value is what the limit is held against.
func (s *series) value() (float64, bool) {
	mine, ok := s.median(ours)
	if s.goal.of == "" {
		return mine, ok
	}
	theirs, found := s.median(s.goal.of)
	return mine / theirs, ok && found && theirs > 0
}

// ratio is the value in words, where it is a ratio.
func (s *series) ratio() string {
	value, ok := s.value()
	if !ok || s.goal.of == "" {
		return ""
	}
	return number(value) + " x " + s.goal.of
}

// verdict says whether the goal is reached.
func (s *series) verdict() string {
	value, ok := s.value()
	switch {
	case s.goal.bound == noBound:
		return ""
	case !ok:
		return "not measured"
	case s.goal.bound == atMost && value <= s.goal.limit, s.goal.bound == atLeast && value >= s.goal.limit:
		return "yes"
	}
	return "**no**"
}
