package harness

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/logger/logtest"
)

// Process is a started program whose output is kept.
type Process struct {
	cmd    *exec.Cmd
	output *logtest.Buffer
	done   chan struct{}
}

// StartProcess starts a program, and kills it at the end of the test should
// it still run.
func StartProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, output: &logtest.Buffer{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	// Without it Wait would wait for grandchildren that outlive the program
	// and hold its output open, although their end is what a test is about.
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.Kill() })
	return p
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is all that the process wrote so far, errors included.
func (p *Process) Output() string { return p.output.String() }

// Ended says whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal; a process that ended meanwhile is no error.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}

// Wait returns the exit code, -1 when a signal ended the process.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(2 * Patience):
		require.FailNow(t, "the process does not end", "%s\n%s", p.cmd, p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}
