package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/status"
	"registrycache/supervisor/child"
)

func itoa(n int) string { return strconv.Itoa(n) }

// roles are what this binary can play. The URL of an upstream tells its worker
// how to behave.
var roles = map[string]func() error{
	"worker":    func() error { return child.Run("worker", playWorker) },
	"router":    func() error { return child.Run("router", playRouter) },
	"logger":    func() error { return child.Run("logger", playLogger) },
	"cleaner":   func() error { return child.Run("cleaner", playCleaner) },
	"supervise": playSupervisor,
}

const (
	crashes    = "test:crashes"
	neverReady = "test:never-ready"
)

func playWorker(ctx context.Context, p *child.Process, first config.Worker, _ <-chan config.Worker) error {
	switch first.Upstream.URL {
	case crashes:
		return fmt.Errorf("crashing")
	case neverReady:
		<-ctx.Done()
		return nil
	}
	held, release := context.WithCancel(context.Background())
	letGo := make(chan os.Signal, 1)
	signal.Notify(letGo, syscall.SIGUSR1) // for when its socket is another's
	go func() { <-letGo; release() }()
	mux := http.NewServeMux()
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/url", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, first.Upstream.URL) })
	mux.HandleFunc("/settings", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(first) })
	mux.HandleFunc("/hold", func(w http.ResponseWriter, _ *http.Request) {
		p.Log.Info().Msg("holding")
		<-held.Done()
		fmt.Fprint(w, "released")
	})
	p.Tell(func() status.Part {
		return status.Part{
			Upstream: &status.Upstream{Name: "mistaken", State: status.Answering, Circuit: status.CircuitClosed, Credentials: status.Accepted},
			Fills:    []status.Fill{{Upstream: first.Upstream.Name, Since: time.Unix(int64(len(first.Upstream.Name)), 0)}},
		}
	})
	mux.HandleFunc("/warn", func(http.ResponseWriter, *http.Request) {
		p.Log.Warn().Err(errors.New("no route to host")).Msg("the upstream fails")
	})
	var full atomic.Bool
	p.ReadyBut(func() string {
		if full.Load() {
			return "no space left"
		}
		return ""
	})
	mux.HandleFunc("/full", func(http.ResponseWriter, *http.Request) { full.Store(true) })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) { full.Store(false) })
	mux.HandleFunc("/release", func(http.ResponseWriter, *http.Request) { release() })
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { go panic("test panic") })
	mux.HandleFunc("/say", func(http.ResponseWriter, *http.Request) {
		fmt.Println(strings.Repeat("long ", 1<<20/5))
		log.Print("through the standard logger")
	})
	return serve(ctx, p, mux)
}

// playRouter passes /via/PATH/... on to the worker whose route has that Path.
func playRouter(ctx context.Context, p *child.Process, first config.Router, updates <-chan config.Router) error {
	var settings atomic.Pointer[config.Router]
	settings.Store(&first)
	go func() {
		for next := range updates {
			settings.Store(&next)
		}
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/routes", func(w http.ResponseWriter, _ *http.Request) {
		for _, r := range settings.Load().Routes {
			fmt.Fprint(w, r.Path, " ")
		}
	})
	mux.HandleFunc("/via/", func(w http.ResponseWriter, r *http.Request) {
		path, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/via/"), "/")
		for _, route := range settings.Load().Routes {
			if route.Path == path {
				r.URL.Path = "/" + rest
				toSocket(route.Socket).ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})
	return serve(ctx, p, mux)
}

func toSocket(path string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "worker"})
	proxy.Transport = persistent{&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	return proxy
}

// persistent asks again where it got no answer, as the real router does: a
// server that is told to end drops what it accepted and had not begun to read.
type persistent struct{ http.RoundTripper }

func (p persistent) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		response, err := p.RoundTripper.RoundTrip(r)
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return response, err
		}
	}
}

// serve serves until ctx ends, and then drains.
func serve(ctx context.Context, p *child.Process, h http.Handler) error {
	server := &http.Server{Handler: h}
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		p.Log.Info().Msg("stopping")
		drained <- server.Shutdown(context.Background())
	}()
	p.Ready()
	_ = server.Serve(p.Listener)
	return <-drained
}

func playLogger(ctx context.Context, p *child.Process, _ config.Logger, _ <-chan config.Logger) error {
	p.Tell(func() status.Part { return status.Part{Traffic: &status.Traffic{Since: time.Unix(1, 0).UTC()}} })
	return idle(ctx, p)
}

func playCleaner(ctx context.Context, p *child.Process, _ config.Cleaner, _ <-chan config.Cleaner) error {
	p.Tell(func() status.Part { return status.Part{Store: &status.Store{Used: 7}} })
	return idle(ctx, p)
}

func idle(ctx context.Context, p *child.Process) error {
	p.Ready()
	<-ctx.Done()
	p.Log.Info().Msg("stopping")
	return nil
}

// playSupervisor runs a supervisor with the configuration on stdin. Like the
// real command it passes a context that the same signals end, which must not
// count them twice.
func playSupervisor() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var cfg config.Config
	if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return err
	}
	return Run(ctx, &cfg, Options{
		Load:    func() (*config.Config, error) { return &cfg, nil },
		Log:     zerolog.New(os.Stderr).With().Timestamp().Logger(),
		Command: testBinary,
		Started: func(a Addresses) { _ = json.NewEncoder(os.Stdout).Encode(a) },
	})
}
