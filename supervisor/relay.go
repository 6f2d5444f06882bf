package supervisor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// maxLine is the length in bytes from which a line of a child's output is
// passed on in pieces.
const maxLine = 64 << 10

// crash matches the first line of what the Go runtime writes when it ends a
// process. All that follows belongs to it.
var crash = regexp.MustCompile(`^(panic: |fatal error: |runtime: |SIG[A-Z]+: |unexpected fault address )`)

// sink takes what children write: their log lines, the text that is none, and
// what follows the first line of a crash.
type sink struct {
	lines       io.Writer
	text, stack zerolog.Logger
}

// relay passes the output of the process called name on, line by line, until
// it ends. Log lines are left as they are, with the process's name added;
// anything else becomes a warning, or an error once the process crashes.
func relay(output io.Reader, name string, to sink) {
	prefix := []byte(`{"process":` + quote(name))
	text, level := to.text, zerolog.WarnLevel
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, maxLine)
	lines.Split(pieces)
	for lines.Scan() {
		line := lines.Bytes()
		if inner, ok := logLine(line); ok {
			_, _ = to.lines.Write(labelled(prefix, inner))
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if crash.Match(line) {
			text, level = to.text, zerolog.ErrorLevel
		}
		text.WithLevel(level).Str("process", name).Msg(string(line))
		if level == zerolog.ErrorLevel {
			text = to.stack
		}
	}
}

// logLine returns what is between the braces of a line that is a JSON object.
func logLine(line []byte) (inner []byte, ok bool) {
	line = bytes.TrimSpace(line)
	if len(line) < 2 || line[0] != '{' || !json.Valid(line) {
		return nil, false
	}
	return bytes.TrimSpace(line[1 : len(line)-1]), true
}

// labelled returns the line of an object that starts with prefix's member.
func labelled(prefix, inner []byte) []byte {
	line := make([]byte, 0, len(prefix)+len(inner)+3)
	line = append(line, prefix...)
	if len(inner) > 0 {
		line = append(line, ',')
	}
	line = append(line, inner...)
	return append(line, '}', '\n')
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string can't fail
	return string(b)
}

// pieces is a bufio.SplitFunc for lines, the end of a long one cut off at
// maxLine so that neither memory nor a single entry grows without bound.
func pieces(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if len(data) >= maxLine {
		n := lastRune(data[:maxLine])
		return n, data[:n], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// lastRune returns where data can be cut without splitting a character.
func lastRune(data []byte) int {
	for n := len(data) - 1; n > len(data)-utf8.UTFMax; n-- {
		if utf8.RuneStart(data[n]) {
			if utf8.FullRune(data[n:]) {
				break
			}
			return n
		}
	}
	return len(data)
}
