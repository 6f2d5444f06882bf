package supervisor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"registrycache/status"
)

// What is kept of the log: so many lines, and of their texts so many bytes.
const (
	maxProblems  = 20
	maxText      = 400
	maxErrorText = 800
)

// problems is a log output that passes lines on, and remembers the last ones
// at warn or above.
type problems struct {
	next io.Writer

	mu   sync.Mutex
	list []status.Problem // oldest first
}

// Write takes one line of the log.
func (p *problems) Write(line []byte) (int, error) {
	if bad(line) {
		if problem, ok := parseProblem(line); ok {
			p.add(problem)
		}
	}
	return p.next.Write(line)
}

var levelMember = []byte(`"level":"`)

// bad says whether a log line may be at warn or above. Most are not, and it is
// asked of each.
func bad(line []byte) bool {
	_, level, found := bytes.Cut(line, levelMember)
	return found && len(level) > 0 && bytes.IndexByte([]byte("wefp"), level[0]) >= 0 // warn, error, fatal, panic
}

func parseProblem(line []byte) (status.Problem, bool) {
	var l struct {
		Time, Level, Process, Message, Error string
		State                                string // how a process ended
	}
	// A field of one of these names and another type is somebody else's.
	var other *json.UnmarshalTypeError
	if err := json.Unmarshal(line, &l); err != nil && !errors.As(err, &other) {
		return status.Problem{}, false
	}
	level, err := zerolog.ParseLevel(l.Level)
	if err != nil || level < zerolog.WarnLevel || level > zerolog.PanicLevel {
		return status.Problem{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, l.Time)
	if err != nil {
		at = time.Now()
	}
	return status.Problem{
		Time: at, Level: l.Level,
		Process: shortened(cmp.Or(l.Process, supervisorName), maxText),
		Text:    shortened(l.Message, maxText),
		Error:   shortened(cmp.Or(l.Error, l.State), maxErrorText),
	}, true
}

// shortened is text in one line of at most limit bytes.
func shortened(text string, limit int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if len(text) <= limit {
		return text
	}
	const mark = "…"
	end := limit - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// add makes problem the newest. One that is there already is only counted, and
// when there are too many the oldest goes of the process that has most: one
// noisy upstream must not hide the rest.
func (p *problems) add(problem status.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	problem.Count = 1
	same := slices.IndexFunc(p.list, func(old status.Problem) bool {
		return old.Process == problem.Process && old.Level == problem.Level &&
			old.Text == problem.Text && old.Error == problem.Error
	})
	if same >= 0 {
		problem.Count += p.list[same].Count
		p.list = slices.Delete(p.list, same, same+1)
	}
	if len(p.list) == maxProblems {
		i := p.superfluous()
		p.list = slices.Delete(p.list, i, i+1)
	}
	p.list = append(p.list, problem)
}

// superfluous returns the place of the oldest of the process that has most.
func (p *problems) superfluous() int {
	first, number := map[string]int{}, map[string]int{}
	most := 0
	for i, problem := range p.list {
		name := problem.Process
		if number[name]++; number[name] == 1 {
			first[name] = i
		}
		most = max(most, number[name])
	}
	oldest := len(p.list)
	for name, i := range first {
		if number[name] == most {
			oldest = min(oldest, i)
		}
	}
	return oldest
}

// newest returns the problems, newest first.
func (p *problems) newest() []status.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := append([]status.Problem{}, p.list...) // in JSON, no null
	slices.Reverse(list)
	return list
}
