package supervisor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"registrycache/status"
)

// outputGrace is how long the last lines of an ended process are waited for.
// Its end of the pipe is closed by then, so this only matters if something it
// started holds the pipe open.
const outputGrace = time.Second

// instance is one running process. It is a struct of functions so that the
// logic of restarts can be tested without processes.
type instance struct {
	pid   int
	began time.Time
	// ready is closed once the process does its work.
	ready <-chan struct{}
	// exited is closed once the process has ended and its last line of output
	// is passed on. How it ended can then be read from state.
	exited <-chan struct{}
	state  func() string
	// signal and send do nothing once the process has ended.
	signal func(os.Signal)
	// send makes settings the ones that the process has, without waiting.
	send func(settings any)
	// health returns why a ready process does its work only in part, if so.
	health func(context.Context) (degraded string, err error)
	gather func(context.Context) ([]*dto.MetricFamily, error)
	// part returns what it tells of the state of the cache.
	part func(context.Context) (status.Part, error)
	// admin asks anything else.
	admin http.RoundTripper
}

// whenReady and whenExited never fire for an instance that there is not.
func (i *instance) whenReady() <-chan struct{} {
	if i == nil {
		return nil
	}
	return i.ready
}

func (i *instance) whenExited() <-chan struct{} {
	if i == nil {
		return nil
	}
	return i.exited
}

func (i *instance) isReady() bool { return isClosed(i.ready) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// launcher starts the processes of one supervisor.
type launcher struct {
	spawner *spawner
	command func(role string, args ...string) *exec.Cmd
	env     []string
	// adminPath returns the path of the n-th admin socket.
	adminPath func(n string) string
	started   atomic.Uint64
	output    sink
}

// launch starts a process: argv is its role and arguments, listener the socket
// it serves on.
func (l *launcher) launch(name string, argv []string, listener *socket, settings any) (*instance, error) {
	// Each process has an admin socket of its own, so that an answer never
	// comes from another one that serves behind the same listener.
	admin, err := listenUnix(l.adminPath(strconv.FormatUint(l.started.Add(1), 10)))
	if err != nil {
		return nil, err
	}
	run, err := l.start(argv, admin, listener)
	if err != nil {
		admin.close()
		return nil, err
	}
	// A process that ended refuses questions only if nobody holds its socket.
	admin.file.Close()

	client := newAdminClient(admin.addr.String())
	ctx, exit := context.WithCancel(context.Background())
	ready, exited := make(chan struct{}), make(chan struct{})
	relayed := make(chan struct{})
	newest := make(chan any, 1)
	newest <- settings

	go func() {
		defer close(relayed)
		relay(run.output, name, l.output)
	}()
	go writeSettings(ctx, run.control, newest)
	go func() {
		if client.waitReady(ctx) {
			close(ready)
		}
	}()
	go func() {
		_ = run.cmd.Wait() // ProcessState says it all
		exit()
		run.control.Close()
		_ = run.output.SetReadDeadline(time.Now().Add(outputGrace))
		<-relayed
		run.output.Close()
		admin.close()
		client.http.CloseIdleConnections()
		close(exited)
	}()
	return &instance{
		pid:    run.cmd.Process.Pid,
		began:  time.Now(),
		ready:  ready,
		exited: exited,
		state:  func() string { return run.cmd.ProcessState.String() },
		signal: func(s os.Signal) { _ = run.cmd.Process.Signal(s) },
		send: func(settings any) {
			select {
			case <-newest: // not sent yet, and superseded
			default:
			}
			newest <- settings
		},
		health: client.health,
		gather: client.gather,
		part:   client.part,
		admin:  client.http.Transport,
	}, nil
}

// running is a started process and the supervisor's ends of its pipes.
type running struct {
	cmd     *exec.Cmd
	control *os.File
	output  *os.File
}

func (l *launcher) start(argv []string, admin, listener *socket) (*running, error) {
	controlRead, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer controlRead.Close()
	output, outputWrite, err := os.Pipe()
	if err != nil {
		control.Close()
		return nil, err
	}
	defer outputWrite.Close()

	cmd := l.command(argv[0], argv[1:]...)
	// Not nil, which would stand for this process's own environment.
	cmd.Env = append([]string{}, l.env...)
	cmd.Stdout, cmd.Stderr = outputWrite, outputWrite
	cmd.ExtraFiles = []*os.File{controlRead, admin.file, listener.file} // fd 3, 4, 5
	if err := l.spawner.start(cmd); err != nil {
		control.Close()
		output.Close()
		return nil, err
	}
	return &running{cmd: cmd, control: control, output: output}, nil
}

// writeSettings sends what comes through newest until ctx ends. A process that
// doesn't read holds up nobody: the write ends when the pipe is closed.
func writeSettings(ctx context.Context, pipe io.Writer, newest <-chan any) {
	values := json.NewEncoder(pipe)
	for {
		select {
		case settings := <-newest:
			if values.Encode(settings) != nil {
				return // the process has ended
			}
		case <-ctx.Done():
			return
		}
	}
}
