package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"registrycache/config"
	"registrycache/status"
)

// fresh is for how long a document is given again.
const fresh = 500 * time.Millisecond

// reporter makes the status.Document of the cache. However many ask, the
// processes are asked by one, and at most twice a second.
type reporter struct {
	version   string
	began     time.Time
	condition *condition
	// settings returns the configuration in force, and worker the process of an
	// upstream, nil if there is none.
	settings func() *config.Config
	worker   func(config.Upstream) *process
	problems *problems

	// turn is held by the one who uses what is below.
	turn     chan struct{}
	document []byte // JSON
	made     time.Time
}

func newReporter(r *reporter) *reporter {
	r.turn = make(chan struct{}, 1)
	return r
}

// ServeHTTP answers with the document.
func (r *reporter) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	document, err := r.latest(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(document)
}

// statusHandler is what the status socket has.
func statusHandler(report http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+status.Path, report)
	return mux
}

// latest returns a document that is fresh. Who waits for it while it is made
// gets the same; nobody waits for longer than askTimeout.
func (r *reporter) latest(ctx context.Context) ([]byte, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.document != nil && time.Since(r.made) < fresh {
		return r.document, nil
	}
	// It is for the others, too, and so goes on when this one leaves.
	var document bytes.Buffer
	if err := json.NewEncoder(&document).Encode(r.report(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	r.document, r.made = document.Bytes(), time.Now()
	return r.document, nil
}

// told is what a process said of itself.
type told struct {
	part     *status.Part // nil if it didn't answer
	degraded string
}

// report asks all processes and puts together what they tell.
func (r *reporter) report(ctx context.Context) status.Document {
	cfg, processes := r.settings(), r.condition.list()
	answers := askParts(ctx, processes)
	said := make([]string, len(processes))
	parts := make(map[*process]*status.Part, len(processes))
	for i, p := range processes {
		said[i], parts[p] = answers[i].degraded, answers[i].part
	}
	readiness := r.condition.assess(processes, storeReasons(processes, said))
	d := status.Document{
		Time: time.Now(), Version: r.version, Since: r.began,
		State: readiness.Status, Reasons: readiness.Reasons, Offline: cfg.Offline,
		Upstreams: make([]status.Upstream, 0, len(cfg.Upstreams)),
		Processes: append([]status.Process{r.self()}, describe(readiness.Processes)...),
		Fills:     []status.Fill{},
		Problems:  r.problems.newest(),
	}
	for _, u := range cfg.Upstreams {
		if p := r.worker(u); p != nil {
			d.Upstreams = append(d.Upstreams, upstreamOf(cfg, u, p.report(), parts[p]))
		}
	}
	for _, p := range processes {
		if part := parts[p]; part != nil {
			merge(&d, part)
		}
	}
	slices.SortStableFunc(d.Fills, func(a, b status.Fill) int {
		if first := a.Since.Compare(b.Since); first != 0 {
			return first
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return d
}

// askParts asks all processes for what they know.
func askParts(ctx context.Context, processes []*process) []told {
	answers := make([]told, len(processes))
	askEach(ctx, processes, func(ctx context.Context, i int, p *process) {
		// One after the other, as one connection is kept.
		var err error
		if answers[i].degraded, err = p.health(ctx); err != nil {
			return
		}
		if part, err := p.part(ctx); err == nil {
			answers[i].part = &part
		}
	})
	return answers
}

// merge adds to d what one process alone knows.
func merge(d *status.Document, part *status.Part) {
	d.Fills = append(d.Fills, part.Fills...)
	if part.Traffic != nil {
		d.Traffic = part.Traffic
	}
	if part.Store != nil {
		d.Store = part.Store
	}
	if part.Hosted != nil {
		d.Hosted = part.Hosted
	}
}

// upstreamOf is the state of u as its worker tells it, or what can be said in
// its place.
func upstreamOf(cfg *config.Config, u config.Upstream, worker Status, part *status.Part) status.Upstream {
	shown := untold(cfg, u)
	switch {
	case part != nil && part.Upstream != nil:
		shown = *part.Upstream
	case part != nil: // it has nothing to tell
	case worker.State == Starting && worker.Restarts == 0: // for the first time
	case worker.Down.IsZero():
		shown.State = status.Failing
		shown.Failure = &status.Failure{Time: time.Now(), Text: "its worker does not say how it is"}
	default:
		shown.State = status.Failing
		shown.Failure = &status.Failure{Time: worker.Down, Text: fmt.Sprintf("its worker is down (%s) since %s",
			worker.State, worker.Down.Format(time.RFC3339))}
	}
	shown.Name, shown.Path, shown.Aliases, shown.Process = u.Name, u.Path, u.Aliases, string(worker.State)
	return shown
}

// untold is u as the configuration alone has it.
func untold(cfg *config.Config, u config.Upstream) status.Upstream {
	shown := status.Upstream{State: status.Untried, Circuit: status.CircuitClosed, Credentials: status.Unused}
	if cfg.Offline {
		shown.State = status.Offline
	}
	if len(u.Credentials) == 0 {
		shown.Credentials = status.Anonymous
	}
	return shown
}

// self is this process among the others.
func (r *reporter) self() status.Process {
	state := Ready
	switch r.condition.get() {
	case phaseStarting:
		state = Starting
	case phaseDraining:
		state = Draining
	case phaseRunning:
	}
	return status.Process{
		Name: supervisorName, State: string(state), PID: os.Getpid(), Since: r.began, Memory: resident(os.Getpid()),
	}
}

func describe(processes []Status) []status.Process {
	list := make([]status.Process, 0, len(processes))
	for _, p := range processes {
		shown := status.Process{Name: p.Name, State: string(p.State), PID: p.PID, Restarts: p.Restarts, Since: p.Since}
		if p.PID != 0 {
			shown.Memory = resident(p.PID)
		}
		list = append(list, shown)
	}
	return list
}
