package supervisor

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func relayed(output string) string {
	var out bytes.Buffer
	relay(strings.NewReader(output), `worker "quay.io"`, sink{&out, zerolog.New(&out), zerolog.New(&out)})
	return out.String()
}

func TestRelay(t *testing.T) {
	const process = `"process":"worker \"quay.io\""`
	for name, test := range map[string]struct{ output, want string }{
		"a log line": {
			`{"level":"info","message":"x"}` + "\n",
			`{` + process + `,"level":"info","message":"x"}` + "\n",
		},
		"an empty object":       {"{}\n", "{" + process + "}\n"},
		"without a newline":     {`{"a":1}`, "{" + process + `,"a":1}` + "\n"},
		"with blanks around it": {` { "a":1 } ` + "\r\n", "{" + process + `,"a":1}` + "\n"},
		"plain text":            {"disk on fire\n", `{"level":"warn",` + process + `,"message":"disk on fire"}` + "\n"},
		"broken JSON":           {"{\"a\":\n", `{"level":"warn",` + process + `,"message":"{\"a\":"}` + "\n"},
		"two objects":           {"{}{}\n", `{"level":"warn",` + process + `,"message":"{}{}"}` + "\n"},
		"an array":              {"[1]\n", `{"level":"warn",` + process + `,"message":"[1]"}` + "\n"},
		"empty lines":           {"\n\r\n \n", ""},
		"a panic": {
			"about to fail\npanic: oh no\n\ngoroutine 1 [running]:\nmain.main()\n",
			`{"level":"warn",` + process + `,"message":"about to fail"}` + "\n" +
				`{"level":"error",` + process + `,"message":"panic: oh no"}` + "\n" +
				`{"level":"error",` + process + `,"message":"goroutine 1 [running]:"}` + "\n" +
				`{"level":"error",` + process + `,"message":"main.main()"}` + "\n",
		},
		"a runtime error": {
			"fatal error: all goroutines are asleep\n",
			`{"level":"error",` + process + `,"message":"fatal error: all goroutines are asleep"}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, relayed(test.output)) })
	}
}

func TestRelayOnTheConsole(t *testing.T) {
	var out bytes.Buffer
	console := zerolog.ConsoleWriter{Out: &out, NoColor: true}
	output := `{"level":"info","time":"2026-01-02T03:04:05Z","message":"hello","n":1}` + "\nplain\n"
	relay(strings.NewReader(output), "worker quay.io", sink{console, zerolog.New(console), zerolog.Nop()})
	lines := strings.Split(out.String(), "\n")
	assert.Contains(t, lines[0], "INF hello n=1")
	assert.Contains(t, lines[0], `process="worker quay.io"`)
	assert.Contains(t, lines[1], "WRN plain")
	assert.Contains(t, lines[1], `process="worker quay.io"`)
}

func TestRelaySplitsLongLines(t *testing.T) {
	// 3 bytes a character, so that the bound falls into the middle of one.
	long := strings.Repeat("€", 1<<20/3)
	var whole strings.Builder
	for line := range strings.Lines(relayed("before\n" + long + "\nafter\n")) {
		var e entry
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		assert.LessOrEqual(t, len(e.Message), maxLine)
		whole.WriteString(e.Message)
	}
	assert.Equal(t, "before"+long+"after", whole.String(), "nothing is lost")
}

func FuzzRelay(f *testing.F) {
	f.Add(`{"level":"info"}` + "\nplain\n{}")
	f.Add("panic: x\n\n{\"a\":{}}")
	f.Fuzz(func(t *testing.T, output string) {
		for line := range strings.Lines(relayed(output)) {
			var e struct{ Process string }
			decoder := json.NewDecoder(strings.NewReader(line))
			require.NoError(t, decoder.Decode(&e), "%q", line)
			require.False(t, decoder.More(), "%q", line)
		}
	})
}
