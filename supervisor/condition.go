package supervisor

import "sync/atomic"

// phase is how far the supervisor itself is.
type phase int32

const (
	phaseStarting phase = iota
	phaseRunning
	phaseDraining
)

// condition is whether pulls can be served.
type condition struct {
	phase atomic.Int32
	// list returns all processes; router is the one without which nothing can
	// be pulled.
	list   func() []*process
	router *process
}

func (c *condition) set(p phase) { c.phase.Store(int32(p)) }

func (c *condition) get() phase { return phase(c.phase.Load()) }

// What readiness.Status says.
const (
	statusOK          = "ok"
	statusDegraded    = "degraded"
	statusStarting    = "starting"
	statusUnavailable = "unavailable"
	statusDraining    = "draining"
)

// readiness is the body of /readyz.
type readiness struct {
	Status string `json:"status"`
	// Reasons are what degrades it besides processes that are not ready.
	Reasons   []string `json:"reasons,omitempty"`
	Processes []Status `json:"processes"`
}

// serves says whether pulls are to be sent here.
func (r readiness) serves() bool { return r.Status == statusOK || r.Status == statusDegraded }

// assess tells the condition of processes, for which there are reasons to be
// degraded.
func (c *condition) assess(processes []*process, reasons []string) readiness {
	r := readiness{Status: statusOK, Reasons: reasons, Processes: make([]Status, 0, len(processes))}
	if len(reasons) > 0 {
		r.Status = statusDegraded
	}
	for _, p := range processes {
		status := p.report()
		if status.State != Ready {
			r.Status = statusDegraded
		}
		r.Processes = append(r.Processes, status)
	}
	switch {
	case c.get() == phaseStarting:
		r.Status = statusStarting
	case c.get() == phaseDraining:
		r.Status = statusDraining
	case c.router.report().State != Ready:
		r.Status = statusUnavailable
	}
	return r
}
