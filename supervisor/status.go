package supervisor

import (
	"context"
	"errors"
	"time"

	dto "github.com/prometheus/client_model/go"

	"registrycache/status"
)

// State is what a process is doing, in a word.
type State string

const (
	// Starting is from the start of the process until it does its work.
	Starting State = "starting"
	// Ready is a process that does its work.
	Ready State = "ready"
	// Silent is a process that was ready and does not answer. It is killed, and
	// started again, if it goes on so.
	Silent State = "silent"
	// Restarting is the pause after a process has ended.
	Restarting State = "restarting"
	// Draining is a process that finishes what is in flight, to end for good.
	Draining State = "draining"
)

// Status is one process as /readyz shows it.
type Status struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// PID is 0 while there is no process.
	PID      int `json:"pid,omitempty"`
	Restarts int `json:"restarts"`
	// Since is when the process with that PID was started.
	Since time.Time `json:"-"`
	// Down is since when the process does not do its work; it is zero if it does.
	Down time.Time `json:"-"`
}

// show publishes what the process is doing, and the instance that does it.
func (p *process) show(state State, i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case state == Ready:
		p.status.Down = time.Time{}
	case p.status.Down.IsZero():
		p.status.Down = time.Now()
	}
	p.status.State, p.status.PID, p.status.Since = state, 0, time.Time{}
	if i != nil {
		p.status.PID, p.status.Since = i.pid, i.began
	}
	p.current = i
}

// report returns the state of the process.
func (p *process) report() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

var errNotReady = errors.New("not ready")

// ready returns the instance to ask.
func (p *process) ready() (*instance, error) {
	p.mu.Lock()
	i := p.current
	p.mu.Unlock()
	if i == nil || !i.isReady() {
		return nil, errNotReady
	}
	return i, nil
}

// health returns why the process does its work only in part, if so.
func (p *process) health(ctx context.Context) (degraded string, err error) {
	i, err := p.ready()
	if err != nil {
		return "", err
	}
	return i.health(ctx)
}

// gather returns the metrics of the process.
func (p *process) gather(ctx context.Context) ([]*dto.MetricFamily, error) {
	i, err := p.ready()
	if err != nil {
		return nil, err
	}
	return i.gather(ctx)
}

// part returns what the process tells of the state of the cache.
func (p *process) part(ctx context.Context) (status.Part, error) {
	i, err := p.ready()
	if err != nil {
		return status.Part{}, err
	}
	return i.part(ctx)
}
