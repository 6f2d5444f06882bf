package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// watchEvery is the pause between two looks.
const watchEvery = 2 * time.Second

// watchStatus shows the state again and again until ctx ends, and returns what
// the last one means for the exit code. A cache that does not answer is looked
// for again: it may be restarting.
func watchStatus(ctx context.Context, f statusFlags, out, failures io.Writer, every time.Duration) error {
	show := func(block []byte) error {
		_, err := out.Write(append(block, '\n'))
		return err
	}
	if terminal, ok := out.(*os.File); ok && !f.json && isScreen(terminal) {
		s := screen{out: terminal, size: sizeOf(terminal)}
		s.open()
		defer s.close()
		show = s.draw
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var meaning error
	for {
		report, err := askStatus(ctx, f.address)
		if ctx.Err() != nil {
			return meaning // in the middle of a question
		}
		switch {
		case err == nil && f.json:
			meaning = report.failure()
			_, err = out.Write(report.line)
		case err == nil:
			meaning = report.failure()
			err = show(append(watchLine(report.Time), report.text()...))
		case f.json:
			meaning = errReported
			_, err = fmt.Fprintln(failures, "registry-cache: "+err.Error())
		default:
			meaning = errReported
			err = show(append(watchLine(time.Now()), printableLines(err.Error()+"\n")...))
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return meaning
		case <-ticker.C:
		}
	}
}

// watchLine is the first line of a block.
func watchLine(at time.Time) []byte {
	return []byte(at.Local().Format(time.DateTime) + "\n\n")
}

// Control sequences of ECMA-48 and, for the alternate screen and the cursor,
// xterm.
const (
	toAlternate = "\x1b[?1049h\x1b[?25l"
	fromThere   = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// screen is a terminal that shows one block in the place of the other, and what
// it showed before when it is closed.
type screen struct {
	out  io.Writer
	size func() (columns, rows int)
}

func sizeOf(terminal *os.File) func() (columns, rows int) {
	return func() (columns, rows int) {
		size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 || size.Row == 0 {
			return 80, 24
		}
		return int(size.Col), int(size.Row)
	}
}

func (s screen) open()  { _, _ = io.WriteString(s.out, toAlternate) }
func (s screen) close() { _, _ = io.WriteString(s.out, fromThere) }

// draw shows block, as much of it as there is room for, in one write.
func (s screen) draw(block []byte) error {
	columns, rows := s.size()
	lines := strings.Split(strings.TrimRight(string(block), "\n"), "\n")
	if len(lines) > rows {
		more := len(lines) - rows + 1
		lines = append(lines[:rows-1], fmt.Sprintf("and %s more than the screen has", counted(more, "line")))
	}
	var frame bytes.Buffer
	frame.WriteString(toTop)
	for i, line := range lines {
		if i > 0 {
			frame.WriteString("\r\n")
		}
		// Before the text, as behind a full line the last column would go.
		frame.WriteString(clearLine + cropped(line, columns))
	}
	if len(lines) < rows {
		frame.WriteString("\r\n" + clearBelow)
	}
	_, err := s.out.Write(frame.Bytes())
	return err
}

// cropped is line in at most so many columns, of one character each.
func cropped(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns-1]) + "…"
}
