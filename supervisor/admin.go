package supervisor

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"registrycache/status"
	"registrycache/supervisor/profile"
)

// admin answers on METRICS_ADDR.
type admin struct{ condition *condition }

// adminHandler is what METRICS_ADDR has. profiles is nil if there are to be
// none.
func adminHandler(c *condition, report, profiles http.Handler, errorLog *log.Logger) http.Handler {
	a := admin{c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET "+status.Path, report)
	mux.Handle("GET /metrics", promhttp.HandlerFor(newMerged(c.list), promhttp.HandlerOpts{
		ErrorHandling:      promhttp.ContinueOnError, // one bad metric must not hide the others
		ErrorLog:           errorLog,
		DisableCompression: true, // a compressor has ten times the memory of what it would compress
	}))
	if profiles != nil {
		mux.Handle("GET "+profile.Path, profiles)
	}
	return mux
}

// answer answers on l until the function that it returns is called; the answers
// in flight are small.
func answer(l net.Listener, h http.Handler, errorLog *log.Logger) (end func()) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog}
	go func() { _ = server.Serve(l) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}
}

// healthz says that the supervisor is alive. Children that are not are its own
// business: a restart of the whole would not help them.
func (a admin) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

// readyz says whether pulls can be served. One upstream's worker that is down,
// or a store that can't be written, is no reason to send nobody here.
func (a admin) readyz(w http.ResponseWriter, r *http.Request) {
	processes := a.condition.list()
	body := a.condition.assess(processes, degradedStores(r.Context(), processes))
	w.Header().Set("Content-Type", "application/json")
	if !body.serves() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body)
}
