package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"registrycache/router/pulls"
)

// consoleOutput writes log lines for a person: what happened, then what it was
// about, then in brackets which process says so.
func consoleOutput(out io.Writer, style palette) io.Writer {
	return zerolog.ConsoleWriter{
		Out: out, NoColor: style == nil, TimeFormat: time.TimeOnly,
		PartsOrder: []string{
			zerolog.TimestampFieldName, zerolog.LevelFieldName, zerolog.CallerFieldName, zerolog.MessageFieldName, summaryPart,
		},
		FieldsExclude: []string{processField, summaryPart},
		FormatPrepare: func(line map[string]any) error {
			readable(line)
			if line[zerolog.MessageFieldName] == pulls.Message {
				summarize(line, style)
			}
			return nil
		},
		FormatPartValueByName: func(value any, _ string) string {
			text, _ := value.(string) // there is none in most lines
			return text
		},
		FormatExtra: func(line map[string]any, to *bytes.Buffer) error {
			if process, ok := line[processField].(string); ok {
				to.WriteString(" " + style.paint(grey, "("+process+")"))
			}
			return nil
		},
	}
}

const (
	// processField names the process that wrote a line; the supervisor adds it.
	processField = "process"
	// summaryPart stands for the fields of a pull's line that are told in words.
	summaryPart = "summary of a pull"
)

// Fields of all lines that are numbers of bytes, and of milliseconds.
var (
	sizeFields     = []string{"bytes", "size", "have", "resumed", "max_size"}
	durationFields = []string{"took"}
)

// readable makes sizes and durations such as a person reads.
func readable(line map[string]any) {
	for _, name := range sizeFields {
		if n, ok := line[name].(json.Number); ok {
			if bytes, err := n.Int64(); err == nil && bytes >= 0 {
				line[name] = sizeText(bytes)
			}
		}
	}
	for _, name := range durationFields {
		if n, ok := line[name].(json.Number); ok {
			if ms, err := n.Float64(); err == nil {
				line[name] = elapsedText(time.Duration(ms * float64(time.Millisecond)))
			}
		}
	}
}

// summarize puts a pull into words. Of its fields it leaves who pulled, the
// digest, and how often if that is more than once.
func summarize(line map[string]any, style palette) {
	image, _ := line["image"].(string)
	size, _ := line["bytes"].(string)
	cache, _ := line["cache"].(string)
	seconds, ok := line["duration"].(json.Number)
	took, err := seconds.Float64()
	if image == "" || size == "" || !ok || err != nil {
		return
	}
	name, of, byDigest := strings.Cut(image, "@")
	if byDigest {
		image = name + "@" + briefDigest(of)
		delete(line, "digest")
	}
	if d, ok := line["digest"].(string); ok {
		line["digest"] = briefDigest(d)
	}
	if n, _ := line["times"].(json.Number); n == "0" || n == "1" {
		delete(line, "times")
	}
	for _, told := range [...]string{"image", "cache", "bytes", "duration", "upstream", "requests"} {
		delete(line, told)
	}
	in := " " + size + " in " + elapsedText(time.Duration(took*float64(time.Second)))
	if cache == "failed" {
		line[zerolog.MessageFieldName] = style.paint(red, "pull failed")
		line[summaryPart] = image + in
		return
	}
	line[summaryPart] = image + " " + style.paint(cacheColors[cache], cache) + in
}

// briefDigest is as much of a digest as tells images apart, as podman has it.
func briefDigest(d string) string {
	_, hash, _ := strings.Cut(d, ":")
	return hash[:min(len(hash), shortDigits)]
}

// elapsedText is d with the digits that matter, also where they are few.
func elapsedText(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return tookText(d)
}

// palette paints text; a nil one leaves it as it is.
type palette map[color]string

type color int

const (
	plain color = iota
	grey
	green
	yellow
	blue
	red
)

// ansi are the colours of ECMA-48 that every terminal has.
var ansi = palette{grey: "\x1b[90m", green: "\x1b[32m", yellow: "\x1b[33m", blue: "\x1b[34m", red: "\x1b[31m"}

// cacheColors are those of what the cache did for a pull.
var cacheColors = map[string]color{"hit": green, "stale": yellow, "miss": blue}

func (p palette) paint(c color, text string) string {
	if p[c] == "" {
		return text
	}
	return p[c] + text + "\x1b[0m"
}

// paletteFor says whether lines to f may be coloured: a terminal shows colours
// unless its owner does not want them (https://no-color.org) or it can't.
func paletteFor(f *os.File, getenv func(string) string) palette {
	if !isTerminal(f) || getenv("NO_COLOR") != "" || getenv("TERM") == "dumb" {
		return nil
	}
	return ansi
}
