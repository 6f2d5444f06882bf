package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func console(t *testing.T, style palette, line string) string {
	t.Helper()
	// The time of a line is shown as that of the place.
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	var out bytes.Buffer
	_, err := consoleOutput(&out, style).Write([]byte(line))
	require.NoError(t, err)
	return out.String()
}

func TestConsole(t *testing.T) {
	const (
		start  = `{"process":"router","level":"info","time":"2026-01-02T12:01:02.5Z",`
		digest = "sha256:8a1c03a2f8d0b3e2d2b4c7f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"
		hello  = `"image":"quay.io/podman/hello:latest","digest":"` + digest + `","upstream":"quay.io","cache":"hit","bytes":1258291,"duration":0.0351,"requests":3`
	)
	for name, test := range map[string]struct{ line, want string }{
		"a pull": {
			start + hello + `,"times":1,"client":"10.0.0.1","message":"pulled"}`,
			"12:01:02 INF pulled quay.io/podman/hello:latest hit 1.2 MiB in 35ms client=10.0.0.1 digest=8a1c03a2f8d0 (router)\n",
		},
		"a pull more than once, by a user": {
			start + hello + `,"times":12,"client":"10.0.0.1","user":"puller","message":"pulled"}`,
			"12:01:02 INF pulled quay.io/podman/hello:latest hit 1.2 MiB in 35ms client=10.0.0.1 digest=8a1c03a2f8d0 times=12 user=puller (router)\n",
		},
		"a pull by digest": {
			start + `"image":"quay.io/a@` + digest + `","digest":"` + digest + `","upstream":"quay.io","cache":"stale","bytes":0,"duration":0.00012,"requests":1,"times":1,"client":"::1","message":"pulled"}`,
			"12:01:02 INF pulled quay.io/a@8a1c03a2f8d0 stale 0 B in 100µs client=::1 (router)\n",
		},
		"a failed pull": {
			start + `"image":"quay.io/a:1","upstream":"quay.io","cache":"failed","bytes":1024,"duration":95.4,"requests":1,"times":1,"client":"::1","message":"pulled"}`,
			"12:01:02 INF pull failed quay.io/a:1 1.0 KiB in 1m35s client=::1 (router)\n",
		},
		"what is no line of a pull": {
			start + `"image":7,"message":"pulled"}`,
			"12:01:02 INF pulled image=7 (router)\n",
		},
		"a line of a worker": {
			`{"process":"worker quay.io","level":"warn","time":"2026-01-02T12:01:02Z","error":"timed out","size":1048576,"at":1000,"took":1500,"message":"upstream fails"}`,
			`12:01:02 WRN upstream fails error="timed out" at=1000 size="1.0 MiB" took=1.5s (worker quay.io)` + "\n",
		},
		"a size that is not known": {
			`{"level":"debug","size":-1,"message":"fill"}`, "<nil> DBG fill size=-1\n",
		},
		"a line of the supervisor": {
			`{"level":"info","time":"2026-01-02T12:01:02Z","pid":7,"message":"started"}`, "12:01:02 INF started pid=7\n",
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, console(t, nil, test.line)) })
	}
}

func TestConsoleInColors(t *testing.T) {
	t.Setenv("NO_COLOR", "") // zerolog itself looks at it
	for cache, code := range map[string]string{"hit": "32", "stale": "33", "miss": "34"} {
		got := console(t, ansi, `{"process":"router","level":"info","image":"a:1","cache":"`+cache+`","bytes":1,"duration":1,"message":"pulled"}`)
		assert.Contains(t, got, "a:1 \x1b["+code+"m"+cache+"\x1b[0m 1 B in 1s")
		assert.Contains(t, got, "\x1b[90m(router)\x1b[0m\n")
	}
	assert.Contains(t, console(t, ansi, `{"level":"info","image":"a:1","cache":"failed","bytes":1,"duration":1,"message":"pulled"}`), "\x1b[31mpull failed\x1b[0m")
	assert.Equal(t, strings.Count(ansi.paint(plain, "x"), "\x1b"), 0)
}

func TestColorsAreForTerminals(t *testing.T) {
	env := func(name, value string) func(string) string {
		return func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
	}
	terminal := openTerminal(t)
	assert.NotNil(t, paletteFor(terminal, env("TERM", "xterm")))
	assert.Nil(t, paletteFor(terminal, env("NO_COLOR", "1")))
	assert.NotNil(t, paletteFor(terminal, env("NO_COLOR", "")))
	assert.Nil(t, paletteFor(terminal, env("TERM", "dumb")))
	file, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	assert.Nil(t, paletteFor(file, env("TERM", "xterm")))
}

// Lines of this process and of its children look alike.
func TestConsoleOfALogger(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(consoleOutput(&out, nil), "info")
	log.Info().Str(processField, "router").Int64("size", 2048).Msg("hello")
	log.Debug().Msg("hidden")
	assert.Regexp(t, `^\d\d:\d\d:\d\d INF hello size="2.0 KiB" \(router\)\n$`, out.String())
	assert.Equal(t, zerolog.InfoLevel, log.GetLevel())
}

// openTerminal returns a pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}
