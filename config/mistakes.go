package config

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/hashicorp/go-multierror"
)

// InvalidError says that the configuration can't be used. It carries every
// mistake found, not only the first.
type InvalidError struct {
	Mistakes *multierror.Error
}

// Error lists the mistakes, numbered, one a line.
func (e *InvalidError) Error() string { return "invalid configuration: " + e.Mistakes.Error() }

// Unwrap gives access to the single mistakes.
func (e *InvalidError) Unwrap() error { return e.Mistakes }

// ErrorFormat prints one mistake a line, numbered.
func ErrorFormat(mistakes []error) string {
	var b strings.Builder
	b.WriteString("1 mistake")
	if n := len(mistakes); n != 1 {
		b.Reset()
		fmt.Fprintf(&b, "%d mistakes", n)
	}
	for i, m := range mistakes {
		fmt.Fprintf(&b, "\n  %d. %s", i+1, m)
	}
	return b.String()
}

// findings gathers what there is to say about a configuration: mistakes, which
// make it unusable, and notices, which don't.
type findings struct {
	mistakes *multierror.Error
	notices  []string
}

// mistake notes what is wrong at a place, the name of a variable or a position
// in a file, and what would be right. It must never be given the value of a
// secret.
func (f *findings) mistake(where, format string, args ...any) {
	f.mistakes = multierror.Append(f.mistakes, fmt.Errorf("%s: %s", oneLine(where), oneLine(fmt.Sprintf(format, args...))))
}

func (f *findings) notice(format string, args ...any) {
	f.notices = append(f.notices, oneLine(fmt.Sprintf(format, args...)))
}

// count is the number of mistakes so far.
func (f *findings) count() int {
	if f.mistakes == nil {
		return 0
	}
	return len(f.mistakes.Errors)
}

func (f *findings) err() error {
	if f.count() == 0 {
		return nil
	}
	f.mistakes.ErrorFormat = ErrorFormat
	return &InvalidError{Mistakes: f.mistakes}
}

// oneLine keeps what an operator wrote from breaking the line, or driving the
// terminal, on which it is shown again.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
