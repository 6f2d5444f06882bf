package child

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin answers the supervisor's questions about this process.
type admin struct {
	server *http.Server
	ready  chan struct{}
	once   sync.Once
}

func serveAdmin(l net.Listener, p *Process) *admin {
	a := &admin{ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // one bad metric must not hide the others
	}))
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(l) }()
	return a
}

func (a *admin) markReady() { a.once.Do(func() { close(a.ready) }) }

// healthz answers once the role is ready, so that one request waits for it.
func (a *admin) healthz(w http.ResponseWriter, r *http.Request) {
	select {
	case <-a.ready:
		w.WriteHeader(http.StatusOK)
	case <-r.Context().Done():
	}
}

func (a *admin) Close() { _ = a.server.Close() }
