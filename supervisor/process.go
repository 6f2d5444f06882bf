package supervisor

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// slow is how long a process may take to be ready before that is worth a
// warning.
const slow = 10 * time.Second

// takeover is how new settings reach a process that has others.
type takeover int

const (
	// update sends them to the running process.
	update takeover = iota
	// replace starts a new process with them, which takes over the socket from
	// the old one.
	replace
)

// process keeps one role running: it starts it again when it ends, and
// replaces or updates it when its settings change. Its fields down to launch
// are set before run is called.
type process struct {
	name     string
	takeover takeover
	settings any
	// socket belongs to the process and is closed when run ends.
	socket *socket
	log    zerolog.Logger
	// grace is how long an instance may go on after SIGTERM; all get SIGKILL
	// when kill is closed.
	grace  time.Duration
	kill   <-chan struct{}
	vigil  vigil
	launch func(settings any) (*instance, error)

	changes  chan any
	stopOnce sync.Once
	stopping chan struct{}
	// up is closed when the process is ready for the first time, done when it
	// has ended for good.
	up, done chan struct{}

	// The goroutine in run alone uses these.
	serving, starting *instance
	readySince        time.Time        // of serving
	startedAt         time.Time        // of starting
	retry, overdue    <-chan time.Time // nil while there is nothing to wait for
	answers           <-chan error     // of serving
	silences          int              // how many in a row
	pauses            *pauses
	ending            sync.WaitGroup

	mu      sync.Mutex
	status  Status
	current *instance
}

// newProcess returns p ready for run.
func newProcess(p *process) *process {
	p.changes = make(chan any)
	p.stopping = make(chan struct{})
	p.up, p.done = make(chan struct{}), make(chan struct{})
	p.pauses = newPauses()
	p.status = Status{Name: p.name, State: Starting, Down: time.Now()}
	return p
}

// run keeps the process running until stop.
func (p *process) run() {
	defer close(p.done)
	p.start()
	for {
		select {
		case <-p.starting.whenReady():
			p.promote()
		case <-p.starting.whenExited():
			p.startFailed()
		case <-p.serving.whenExited():
			p.died()
		case err := <-p.answers:
			p.answered(err)
		case <-p.retry:
			p.retry = nil
			p.start()
		case <-p.overdue:
			p.overdue = nil
			p.log.Warn().Int("pid", p.starting.pid).Msgf("not ready after %s", slow)
		case settings := <-p.changes:
			p.change(settings)
		case <-p.stopping:
			p.drain()
			return
		}
	}
}

// set makes settings the process's, unless it has ended for good.
func (p *process) set(settings any) {
	select {
	case p.changes <- settings:
	case <-p.done:
	}
}

// stop asks the process to end for good; done says when it has.
func (p *process) stop() { p.stopOnce.Do(func() { close(p.stopping) }) }

func (p *process) start() {
	next, err := p.launch(p.settings)
	if err != nil {
		p.retryAfter(p.log.Error().Err(err), "can't be started", 0)
		return
	}
	p.starting = next
	p.startedAt = time.Now()
	p.overdue = time.After(slow)
	if p.serving == nil {
		p.show(Starting, next)
	}
}

// promote puts the instance that became ready to work, in the place of the one
// there may be.
func (p *process) promote() {
	old := p.serving
	p.serving, p.starting, p.overdue = p.starting, nil, nil
	p.readySince = time.Now()
	p.answers, p.silences = p.vigil.keep(p.serving), 0
	p.show(Ready, p.serving)
	if !isClosed(p.up) {
		close(p.up)
	}
	p.log.Info().Int("pid", p.serving.pid).Stringer("took", time.Since(p.startedAt).Round(time.Millisecond)).Msg("ready")
	if old != nil {
		p.ending.Go(func() { p.end(old) })
	}
}

// answered takes note of how the serving instance answered. One that is silent
// for too long is killed, which died then sees.
func (p *process) answered(err error) {
	if err == nil {
		if p.silences > 0 {
			p.show(Ready, p.serving)
			p.log.Info().Int("pid", p.serving.pid).Msg("answers again")
		}
		p.silences = 0
		return
	}
	p.silences++
	p.show(Silent, p.serving)
	event := p.log.Warn()
	what := "does not answer"
	if p.silences >= p.vigil.silent {
		event, what = p.log.Error(), "hangs, killed"
		p.serving.signal(os.Kill)
		p.answers = nil // it has none any more
	}
	event.Err(err).Int("pid", p.serving.pid).Int("silent", p.silences).Msg(what)
}

func (p *process) startFailed() {
	ended := p.starting
	p.starting, p.overdue = nil, nil
	event := p.log.Error().Int("pid", ended.pid).Str("state", ended.state())
	if p.serving != nil {
		p.retryAfter(event, "the process to take over ended before it was ready; the one with the earlier settings goes on", 0)
		return
	}
	p.retryAfter(event, "ended before it was ready", 0)
}

func (p *process) died() {
	ended, ready := p.serving, time.Since(p.readySince)
	p.serving, p.answers = nil, nil
	event := p.log.Error().Int("pid", ended.pid).Str("state", ended.state())
	if p.starting != nil {
		p.show(Starting, p.starting)
		event.Msg("ended while its replacement was starting")
		return
	}
	p.retryAfter(event, "ended", ready)
}

// retryAfter has the process started again, after a pause that depends on how
// long it was ready.
func (p *process) retryAfter(event *zerolog.Event, what string, ready time.Duration) {
	pause := p.pauses.next(ready)
	event.Stringer("restart_in", pause).Msg(what)
	p.retry = time.After(pause)
	p.mu.Lock()
	p.status.Restarts++
	p.mu.Unlock()
	if p.serving == nil {
		p.show(Restarting, nil)
	}
}

func (p *process) change(settings any) {
	p.settings = settings
	if p.takeover == update {
		for _, i := range []*instance{p.serving, p.starting} {
			if i != nil {
				i.send(settings)
			}
		}
		return
	}
	if outdated := p.starting; outdated != nil {
		p.ending.Go(func() { p.end(outdated) })
	}
	// What failed may have failed for the settings: no reason to wait.
	p.starting, p.overdue, p.retry = nil, nil, nil
	p.pauses.reset()
	p.start()
}

// drain ends the process for good. The socket goes first: what would only
// queue on it is better refused.
func (p *process) drain() {
	p.show(Draining, p.serving)
	p.socket.close()
	for _, i := range []*instance{p.serving, p.starting} {
		if i != nil {
			p.ending.Go(func() { p.end(i) })
		}
	}
	p.ending.Wait()
	p.show(Draining, nil)
}

// end has i finish what is in flight and waits for it to end. One that never
// became ready has nothing in flight.
func (p *process) end(i *instance) {
	if i.isReady() && !isClosed(p.kill) {
		i.signal(syscall.SIGTERM)
		timeout := time.NewTimer(p.grace)
		defer timeout.Stop()
		select {
		case <-i.exited:
			return
		case <-timeout.C:
		case <-p.kill:
		}
		p.log.Warn().Int("pid", i.pid).Msg("still busy, killed")
	}
	i.signal(os.Kill)
	<-i.exited
}
