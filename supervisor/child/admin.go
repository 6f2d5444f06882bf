package child

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"registrycache/status"
	"registrycache/supervisor/profile"
)

// admin answers the supervisor's questions about this process.
type admin struct {
	server *http.Server
	ready  chan struct{}
	once   sync.Once
	// degraded is set before ready is closed.
	degraded func() string
	part     atomic.Pointer[func() status.Part]
}

func serveAdmin(l net.Listener, p *Process, profiles http.Handler) *admin {
	a := &admin{ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{
		ErrorHandling:      promhttp.ContinueOnError, // one bad metric must not hide the others
		DisableCompression: true,                     // a compressor has many times the memory of what it would compress
	}))
	mux.HandleFunc("GET "+status.Path, a.status)
	mux.Handle(profile.Path, profiles)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(l) }()
	return a
}

func (a *admin) markReady(degraded func() string) {
	a.once.Do(func() {
		a.degraded = degraded
		close(a.ready)
	})
}

// healthz answers once the role is ready, so that one request waits for it. The
// body says why it does its work only in part; it is empty if it does all.
func (a *admin) healthz(w http.ResponseWriter, r *http.Request) {
	select {
	case <-a.ready:
		_, _ = io.WriteString(w, a.degraded())
	case <-r.Context().Done():
	}
}

func (a *admin) tell(part func() status.Part) { a.part.Store(&part) }

// status answers with what the role knows of the state of the cache: nothing,
// if it has not said.
func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	var part status.Part
	if tell := a.part.Load(); tell != nil {
		part = (*tell)()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(part) // the supervisor may have gone
}

func (a *admin) Close() { _ = a.server.Close() }
