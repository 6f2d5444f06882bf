package supervisor

import (
	"context"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"registrycache/config"
)

// startTimeout bounds the wait for all processes to be ready once. After it
// the cache counts as started with those that are.
const startTimeout = 30 * time.Second

// Options are what Run needs besides the configuration.
type Options struct {
	// Load reads the configuration anew, on SIGHUP and when one of its files
	// has changed. It has no side effects.
	Load func() (*config.Config, error)
	// Version is what the document on the state of the cache says it is of.
	Version string
	// Log is for the supervisor's own lines, and for output of children that
	// is no log line. Whatever it writes to, its lines go to LogOutput.
	Log zerolog.Logger
	// LogOutput takes all log lines, JSON objects with a newline each; it must
	// bear concurrent writes. A zerolog.ConsoleWriter will do. The default is
	// os.Stderr.
	LogOutput io.Writer
	// Command makes the command that runs a role. Its environment, files and
	// process attributes are set by Run. The default is this program, with the
	// role and its arguments as its own.
	Command func(role string, args ...string) *exec.Cmd
	// Started is called once, when all processes are ready or 30 s have gone.
	Started func(Addresses)

	vigil vigil // the default is usualVigil
}

// Addresses are where the cache really listens, ports that were 0 included.
type Addresses struct {
	Listen  string
	Metrics string
}

// self runs the file this process runs, even if another one has taken its
// place on disk: both ends of a pipe must agree on what goes through it.
func self(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"registry-cache", role}, args...)
	return cmd
}

// Run runs the cache until ctx ends or SIGTERM or SIGINT arrives, and then
// lets requests in flight finish for up to cfg.Drain. A second signal ends it
// at once. SIGHUP reloads the configuration.
//
// An error means that nothing was started; its text names the setting at fault.
func Run(ctx context.Context, cfg *config.Config, opt Options) error {
	if opt.LogOutput == nil {
		opt.LogOutput = os.Stderr
	}
	if opt.Command == nil {
		opt.Command = self
	}
	if opt.vigil == (vigil{}) {
		opt.vigil = usualVigil
	}
	began := time.Now()
	lines := &problems{next: opt.LogOutput}
	opt.Log = opt.Log.Output(lines)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	lock, err := lockRunDir(cfg.RunDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := prepareStore(cfg.StoreDir); err != nil {
		return err
	}
	opened, err := openSockets(cfg)
	if err != nil {
		return err
	}
	spawner := newSpawner()
	defer spawner.close()
	s := newSupervisor(cfg, opt, lines, spawner)
	s.start(opened)
	state := &condition{list: s.list, router: s.router}
	report := newReporter(&reporter{
		version: opt.Version, began: began, condition: state,
		settings: s.settings, worker: s.workerOf, problems: lines,
	})
	errorLog := log.New(opt.Log, "", 0)
	defer answer(opened.metrics, adminHandler(state, report, s.profiles(), errorLog), errorLog)()
	defer answer(opened.status, statusHandler(report), errorLog)()
	files := watchFiles(cfg.Watch, opt.Log)
	defer files.close()

	up := whenUp(s.list(), startTimeout)
	// Files may have changed after cfg was loaded and before they were watched.
	s.reload(files)
	for {
		select {
		case late := <-up:
			for _, p := range late {
				p.log.Warn().Msgf("still not ready after %s, starting without it", startTimeout)
			}
			state.set(phaseRunning)
			if opt.Started != nil {
				opt.Started(opened.addresses())
			}
		case <-files.changed:
			s.reload(files)
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.log.Info().Msg("SIGHUP: reading the configuration")
				s.reload(files)
				continue
			}
			state.set(phaseDraining)
			s.drain(signals, 1)
			return nil
		case <-ctx.Done():
			state.set(phaseDraining)
			s.drain(signals, 0)
			return nil
		}
	}
}

// whenUp sends once: when all processes have been ready, or else after timeout
// those that have not.
func whenUp(processes []*process, timeout time.Duration) <-chan []*process {
	result := make(chan []*process, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		for _, p := range processes {
			select {
			case <-p.up:
			case <-p.done: // its upstream was removed, or all is ending
			case <-ctx.Done():
			}
		}
		result <- slices.DeleteFunc(processes, func(p *process) bool { return isClosed(p.up) || isClosed(p.done) })
	}()
	return result
}
