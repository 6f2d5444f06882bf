package child

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"registrycache/supervisor/profile"
)

// admin answers the supervisor's questions about this process.
type admin struct {
	server *http.Server
	ready  chan struct{}
	once   sync.Once
	// degraded is set before ready is closed.
	degraded func() string
}

func serveAdmin(l net.Listener, p *Process, profiles http.Handler) *admin {
	a := &admin{ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{
		ErrorHandling:      promhttp.ContinueOnError, // one bad metric must not hide the others
		DisableCompression: true,                     // a compressor has many times the memory of what it would compress
	}))
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

func (a *admin) Close() { _ = a.server.Close() }
