package supervisor

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"registrycache/supervisor/profile"
)

// phase is how far the supervisor itself is.
type phase int32

const (
	phaseStarting phase = iota
	phaseRunning
	phaseDraining
)

// adminServer answers on METRICS_ADDR.
type adminServer struct {
	http  *http.Server
	phase atomic.Int32
	// list returns all processes; router is the one without which nothing can
	// be pulled.
	list   func() []*process
	router *process
}

// serveAdmin answers on l. profiles is nil if there are to be none.
func serveAdmin(l net.Listener, router *process, list func() []*process, profiles http.Handler, logger zerolog.Logger) *adminServer {
	errorLog := log.New(logger, "", 0)
	a := &adminServer{list: list, router: router}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(newMerged(list), promhttp.HandlerOpts{
		ErrorHandling:      promhttp.ContinueOnError, // one bad metric must not hide the others
		ErrorLog:           errorLog,
		DisableCompression: true, // a compressor has ten times the memory of what it would compress
	}))
	if profiles != nil {
		mux.Handle("GET "+profile.Path, profiles)
	}
	a.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog}
	go func() { _ = a.http.Serve(l) }()
	return a
}

func (a *adminServer) set(p phase) { a.phase.Store(int32(p)) }

// close ends the server; the answers in flight are small.
func (a *adminServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.http.Shutdown(ctx) != nil {
		_ = a.http.Close()
	}
}

// healthz says that the supervisor is alive. Children that are not are its own
// business: a restart of the whole would not help them.
func (a *adminServer) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

// readiness is the body of /readyz.
type readiness struct {
	// Status is ok or degraded (200); starting, unavailable or draining (503).
	Status string `json:"status"`
	// Reasons are what degrades it besides processes that are not ready.
	Reasons   []string `json:"reasons,omitempty"`
	Processes []Status `json:"processes"`
}

// readyz says whether pulls can be served. One upstream's worker that is down,
// or a store that can't be written, is no reason to send nobody here.
func (a *adminServer) readyz(w http.ResponseWriter, r *http.Request) {
	processes := a.list()
	body := readiness{Status: "ok", Reasons: degradedStores(r.Context(), processes), Processes: []Status{}}
	if len(body.Reasons) > 0 {
		body.Status = "degraded"
	}
	for _, p := range processes {
		status := p.report()
		if status.State != Ready {
			body.Status = "degraded"
		}
		body.Processes = append(body.Processes, status)
	}
	code := http.StatusServiceUnavailable
	switch phase := phase(a.phase.Load()); {
	case phase == phaseStarting:
		body.Status = "starting"
	case phase == phaseDraining:
		body.Status = "draining"
	case a.router.report().State != Ready:
		body.Status = "unavailable"
	default:
		code = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
