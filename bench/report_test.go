package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// row measures a few figures that belong together.
type row struct {
	// name is what -bench selects it by, after the section's.
	name    string
	measure func(*testing.B) []*series
}

// section is one table of the report.
type section struct {
	// name is what its table is marked with in the document.
	name, title string
	// beside are the contestants that have a column of their own.
	beside []string
	rows   []row
	// results has the series of the rows that were measured, by the row's name.
	results map[string][]*series
}

// run measures the rows that -bench selects.
func (s *section) run(b *testing.B) {
	if s.results == nil {
		s.results = map[string][]*series{}
	}
	for _, r := range s.rows {
		b.Run(r.name, func(b *testing.B) {
			for b.Loop() {
				s.results[r.name] = r.measure(b)
			}
			b.ReportMetric(0, "ns/op")
			for _, figure := range s.results[r.name] {
				figure.show(b)
			}
		})
	}
}

func (s *section) measured() int { return len(s.results) }

// table is Markdown that can be read as it is.
func (s *section) table() string {
	head := append([]string{"figure", "unit", ours}, s.beside...)
	lines := [][]string{append(head, "ratio", "target", "reached")}
	for _, r := range s.rows {
		for _, figure := range s.results[r.name] {
			line := []string{figure.what, figure.unit, figure.cell(ours)}
			for _, contestant := range s.beside {
				line = append(line, figure.cell(contestant))
			}
			lines = append(lines, append(line, figure.ratio(), figure.goal.describe(figure.unit), figure.verdict()))
		}
	}
	return markdown(lines)
}

// markdown is a table whose first line is its head.
func markdown(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for n, line := range lines {
		for i, cell := range line {
			fmt.Fprintf(&out, "| %-*s ", widths[i], cell)
		}
		out.WriteString("|\n")
		if n == 0 {
			for _, w := range widths {
				out.WriteString("|" + strings.Repeat("-", w+2))
			}
			out.WriteString("|\n")
		}
	}
	return out.String()
}

// publish replaces the section's table in the document, if there is one to
// write and all rows were measured.
func (s *section) publish(document, machine string) error {
	if document == "" {
		return nil
	}
	if s.measured() < len(s.rows) {
		fmt.Printf("%d of %d rows were measured: the table in %s stays as it is\n", s.measured(), len(s.rows), document)
		return nil
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text, err := replaceMarked(string(old), s.name, machine+"\n"+s.table())
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(text), 0o644)
}

// replaceMarked replaces what stands between the comments that mark a section.
func replaceMarked(text, name, content string) (string, error) {
	begin, end := "<!-- "+name+": written by make bench -->", "<!-- end of "+name+" -->"
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("no lines %q and %q to put the table between", begin, end)
	}
	return before + begin + "\n" + content + end + after, nil
}
