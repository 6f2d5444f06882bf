package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/status"
)

// record is a log output of which the problems are kept.
func record() (p *problems, out *bytes.Buffer) {
	out = &bytes.Buffer{}
	return &problems{next: out}, out
}

func texts(p *problems) (list []string) {
	for _, problem := range p.newest() {
		list = append(list, problem.Text)
	}
	return list
}

func TestProblemsAreLinesAtWarnOrAbove(t *testing.T) {
	const at = `"time":"2026-01-02T03:04:05.678Z"`
	when := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for name, test := range map[string]struct {
		line string
		want *status.Problem
	}{
		"a child's":        {`{"process":"worker quay.io","level":"warn",` + at + `,"error":"refused","message":"the upstream fails"}`, &status.Problem{Time: when, Level: "warn", Process: "worker quay.io", Text: "the upstream fails", Error: "refused", Count: 1}},
		"the supervisor's": {`{"level":"error",` + at + `,"message":"no"}`, &status.Problem{Time: when, Level: "error", Process: "supervisor", Text: "no", Count: 1}},
		"fatal":            {`{"level":"fatal",` + at + `,"message":"no"}`, &status.Problem{Time: when, Level: "fatal", Process: "supervisor", Text: "no", Count: 1}},
		"how it ended":     {`{"level":"error","process":"router","state":"signal: killed",` + at + `,"message":"ended"}`, &status.Problem{Time: when, Level: "error", Process: "router", Text: "ended", Error: "signal: killed", Count: 1}},
		"of several lines": {`{"level":"warn",` + at + `,"message":"one\n\ttwo  three"}`, &status.Problem{Time: when, Level: "warn", Process: "supervisor", Text: "one two three", Count: 1}},
		"another type":     {`{"level":"warn",` + at + `,"state":7,"message":"x"}`, &status.Problem{Time: when, Level: "warn", Process: "supervisor", Text: "x", Count: 1}},
		"info":             {`{"level":"info","message":"\"level\":\"warn\""}`, nil},
		"debug":            {`{"level":"debug","error":"x","message":"x"}`, nil},
		"no level":         {`{"message":"x"}`, nil},
		"unknown level":    {`{"level":"worse","message":"x"}`, nil},
		"not JSON":         {`"level":"warn`, nil},
		"nothing":          {``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, out := record()
			n, err := p.Write([]byte(test.line))
			require.NoError(t, err)
			assert.Equal(t, len(test.line), n)
			assert.Equal(t, test.line, out.String(), "the line is passed on")
			if test.want == nil {
				assert.Equal(t, []status.Problem{}, p.newest())
				return
			}
			assert.Equal(t, []status.Problem{*test.want}, p.newest())
		})
	}
}

func TestProblemWithoutTimeIsOfNow(t *testing.T) {
	p, _ := record()
	before := time.Now()
	_, err := p.Write([]byte(`{"level":"warn","message":"x"}`))
	require.NoError(t, err)
	assert.WithinRange(t, p.newest()[0].Time, before, time.Now())
}

func TestProblemsAreBounded(t *testing.T) {
	p, _ := record()
	log := zerolog.New(p)
	long := strings.Repeat("€", 10_000)
	for i := range 3 * maxProblems {
		log.Error().Err(errors.New(long)).Int("n", i).Msgf("%d %s", i, long)
	}
	list := p.newest()
	require.Len(t, list, maxProblems)
	for i, problem := range list {
		assert.True(t, strings.HasPrefix(problem.Text, fmt.Sprint(3*maxProblems-1-i, " €")), "newest first: %s", problem.Text)
		for text, limit := range map[string]int{problem.Text: maxText, problem.Error: maxErrorText} {
			assert.LessOrEqual(t, len(text), limit)
			assert.True(t, utf8.ValidString(text))
			assert.True(t, strings.HasSuffix(text, "€…"))
		}
	}
}

func TestRepeatedProblemIsCounted(t *testing.T) {
	p, _ := record()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	warn := func(text string) {
		at = at.Add(time.Second)
		_, _ = fmt.Fprintf(p, `{"level":"warn","time":%q,"message":%q}`, at.Format(time.RFC3339Nano), text)
	}
	warn("other")
	for range 50 {
		warn("a")
		warn("b")
	}
	list := p.newest()
	require.Len(t, list, 3)
	assert.Equal(t, []string{"b", "a", "other"}, texts(p))
	assert.Equal(t, 50, list[0].Count)
	assert.Equal(t, at, list[0].Time, "that of the last")
}

func TestNoisyProcessHidesNoOther(t *testing.T) {
	p, _ := record()
	log := zerolog.New(p)
	log.Error().Str("process", "router").Msg("once")
	log.Warn().Str("process", "logger").Msg("twice")
	log.Warn().Str("process", "logger").Msg("twice, too")
	for i := range 10 * maxProblems {
		log.Warn().Str("process", "worker quay.io").Msgf("noise %d", i)
	}
	got := texts(p)
	require.Len(t, got, maxProblems)
	assert.Equal(t, fmt.Sprintf("noise %d", 10*maxProblems-1), got[0])
	assert.Equal(t, []string{"twice, too", "twice", "once"}, got[maxProblems-3:])
}

func TestCrashIsOneProblem(t *testing.T) {
	p, out := record()
	log := zerolog.New(p)
	trace := "about to fail\npanic: oh no\n\ngoroutine 1 [running]:\n" + strings.Repeat("main.main()\n", 100) + "fatal error: again\n\tmore\n"
	relay(strings.NewReader(trace), "router", sink{p, log, log.Output(out)})
	assert.Equal(t, []string{"fatal error: again", "panic: oh no", "about to fail"}, texts(p))
	assert.Equal(t, 105, strings.Count(out.String(), "\n"), "the log has all of it")
}

func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"process":"worker quay.io","level":"warn","time":"2026-01-02T03:04:05Z","error":"refused","message":"fails"}`))
	f.Add([]byte(`{"level":"error","error":{"a":1},"message":"\ud800\u0000"}`))
	f.Add([]byte(`"level":"panic"`))
	f.Fuzz(func(t *testing.T, line []byte) {
		p, _ := record()
		_, err := p.Write(line)
		require.NoError(t, err)
		for _, problem := range p.newest() {
			require.True(t, json.Valid(line))
			require.LessOrEqual(t, len(problem.Text), maxText)
			require.LessOrEqual(t, len(problem.Error), maxErrorText)
			require.True(t, utf8.ValidString(problem.Text+problem.Error+problem.Process))
			_, err := json.Marshal(problem)
			require.NoError(t, err)
		}
	})
}
