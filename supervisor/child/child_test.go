package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/status"
)

const patience = 20 * time.Second

// settings are those of the role that this binary plays.
type settings struct {
	LogLevel string
	Text     string
	// Size makes settings larger than a pipe.
	Padding string
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		if err := Run("role", role); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// role says on stdout what it is given.
func role(ctx context.Context, p *Process, first settings, updates <-chan settings) error {
	fmt.Println("first", first.Text, p.Name, p.Listener != nil)
	p.Log.Debug().Msg("debug")
	p.Log.Info().Msg("info")
	log.Print("standard")
	if first.Text == "fail" {
		return errors.New("failing")
	}
	if first.Text == "deaf" {
		select {}
	}
	for {
		select {
		case <-ctx.Done():
			fmt.Println("stopping")
			return nil
		case next := <-updates:
			fmt.Println("next", next.Text)
			if next.Text == "ready" {
				p.Tell(func() status.Part { return status.Part{Store: &status.Store{Used: 7}} })
				p.Ready()
				p.Ready() // harmless
			}
		}
	}
}

// process is a started role and the supervisor's end of what it inherits.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	control *os.File
	out     *bufio.Scanner
	stderr  *strings.Builder
	socket  string
}

type inheritance int

const (
	withListener inheritance = iota
	withoutListener
)

func start(t *testing.T, what inheritance) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{t: t, cmd: exec.Command("/proc/self/exe", "role"), stderr: &strings.Builder{}, socket: filepath.Join(dir, "admin")}
	read, control, err := os.Pipe()
	require.NoError(t, err)
	p.control = control
	admin := listen(t, p.socket)
	listener, err := os.Open(os.DevNull)
	require.NoError(t, err)
	if what == withListener {
		listener.Close()
		listener = listen(t, filepath.Join(dir, "main"))
	}
	p.cmd.ExtraFiles = []*os.File{read, admin, listener}
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, p.cmd.Start())
	for _, f := range p.cmd.ExtraFiles {
		f.Close()
	}
	late := time.AfterFunc(2*patience, func() { _ = p.cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		control.Close()
	})
	return p
}

func listen(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	require.NoError(t, err)
	return f
}

func (p *process) send(s settings) {
	p.t.Helper()
	require.NoError(p.t, json.NewEncoder(p.control).Encode(s))
}

func (p *process) expect(line string) {
	p.t.Helper()
	require.True(p.t, p.out.Scan(), "ended instead of %q", line)
	require.Equal(p.t, line, p.out.Text())
}

// end waits for the process and returns its exit code.
func (p *process) end() int {
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// admin asks the process over its admin socket.
func (p *process) admin(ctx context.Context, path string) (string, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", p.socket)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://child"+path, nil)
	require.NoError(p.t, err)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestLife(t *testing.T) {
	p := start(t, withListener)
	p.send(settings{LogLevel: "info", Text: "hello"})
	p.expect("first hello role true")
	// The terminal's signals are for the supervisor.
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.send(settings{Text: "again"})
	p.expect("next again")
	p.send(settings{Text: "big", Padding: strings.Repeat("x", 1<<20)})
	p.expect("next big")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.expect("stopping")
	assert.Zero(t, p.end())

	var messages []string
	for line := range strings.Lines(p.stderr.String()) {
		var e struct{ Level, Message, Time string }
		require.NoError(t, json.Unmarshal([]byte(line), &e), "%q", line)
		assert.NotEmpty(t, e.Time)
		messages = append(messages, e.Level+" "+e.Message)
	}
	assert.Equal(t, []string{"info info", "warn standard"}, messages, "debug is below the level")
}

func TestReadyAndMetrics(t *testing.T) {
	p := start(t, withoutListener)
	p.send(settings{LogLevel: "debug", Text: "hello"})
	p.expect("first hello role false")
	answered := make(chan error, 1)
	go func() {
		_, err := p.admin(t.Context(), "/healthz")
		answered <- err
	}()
	metrics, err := p.admin(t.Context(), "/metrics")
	require.NoError(t, err)
	assert.Contains(t, metrics, "go_goroutines ")
	assert.Contains(t, metrics, "go_memory_classes_total_bytes ")
	assert.NotContains(t, metrics, "process_", "the supervisor knows them")
	assert.Empty(t, answered, "not ready yet")
	part, err := p.admin(t.Context(), status.Path)
	require.NoError(t, err)
	assert.JSONEq(t, "{}", part)
	p.send(settings{Text: "ready"})
	p.expect("next ready")
	require.NoError(t, <-answered)
	_, err = p.admin(t.Context(), "/healthz")
	require.NoError(t, err)
	part, err = p.admin(t.Context(), status.Path)
	require.NoError(t, err)
	assert.Contains(t, part, `"used":7`)
}

func TestProcessEndsWithItsSupervisor(t *testing.T) {
	for _, text := range []string{"hello", "deaf"} {
		p := start(t, withListener)
		p.send(settings{Text: text})
		p.expect("first " + text + " role true")
		// Updates that nobody takes must not hide the end of the pipe.
		for range 3 {
			p.send(settings{Text: "update"})
		}
		require.NoError(t, p.control.Close())
		assert.Equal(t, 1, p.end())
	}
}

func TestErrorOfTheRoleIsReturned(t *testing.T) {
	p := start(t, withListener)
	p.send(settings{Text: "fail"})
	p.expect("first fail role true")
	p.expect("failing")
	assert.Equal(t, 3, p.end())
}

func TestSettingsThatAreNone(t *testing.T) {
	p := start(t, withListener)
	_, err := p.control.WriteString("{\"LogLevel\":1}\n")
	require.NoError(t, err)
	require.True(t, p.out.Scan())
	assert.Contains(t, p.out.Text(), "role: reading the settings: ")
	assert.Equal(t, 3, p.end())
}

func TestStartedByHand(t *testing.T) {
	for name, files := range map[string][]*os.File{
		"nothing inherited": nil,
		"something else":    {os.Stdin, os.Stdin, os.Stdin},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "role")
			cmd.ExtraFiles = files
			out, err := cmd.Output()
			require.Error(t, err)
			assert.Contains(t, string(out), "only its supervisor can start, run `registry-cache serve` instead")
		})
	}
}

func TestOnlyTheNewestUpdateIsKept(t *testing.T) {
	c := &control[settings]{
		values:  json.NewDecoder(strings.NewReader(`{"Text":"1"} {"Text":"2"} {"Text":"3"}`)),
		updates: make(chan settings, 1),
	}
	assert.ErrorIs(t, c.follow(), io.EOF)
	assert.Equal(t, "3", (<-c.updates).Text)
	assert.Empty(t, c.updates)
}
