package child

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/status"
	"registrycache/supervisor/idleheap"
	"registrycache/supervisor/profile"
)

// The file descriptors that the supervisor hands down.
const (
	controlFD  = 3
	adminFD    = 4
	listenerFD = 5
)

// Process is what a role is given to work with.
type Process struct {
	Name     string
	Log      zerolog.Logger
	Registry *prometheus.Registry
	// Listener is nil for roles that serve nothing. Closing it leaves the
	// socket itself open: the supervisor holds it for the next process.
	Listener net.Listener
	// ReadyBut says that the role does its work from now on. It may be called
	// more than once; the first counts. degraded tells at any time why the role
	// does its work only in part, in a few words, or "" if it does all.
	ReadyBut func(degraded func() string)
	// Tell makes part what the role says of the state of the cache whenever it
	// is asked. It must be quick, and bear being called at any time.
	Tell func(part func() status.Part)
}

// Ready is ReadyBut for a role that does all its work or none.
func (p *Process) Ready() { p.ReadyBut(func() string { return "" }) }

// Run is the whole life of a process in the role called name. It reads the
// role's first settings and calls f, whose ctx ends on SIGTERM. Later settings
// come through updates, of which only the newest is kept; updates is never
// closed, and roles without any may leave it unread.
//
// Run returns f's error. It does not return when the supervisor goes away: the
// process ends there and then, since nobody is left to answer to.
func Run[T any](name string, f func(ctx context.Context, p *Process, first T, updates <-chan T) error) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	showName()
	idleheap.Keep()

	control, err := openControl[T](controlFD)
	if err != nil {
		return startedByHand(name, err)
	}
	first, all, err := control.first()
	if err != nil {
		return fmt.Errorf("%s: reading the settings: %w", name, err)
	}
	p := &Process{Name: name, Log: newLogger(os.Stderr, all.LogLevel), Registry: prometheus.NewRegistry()}
	bridgeStandardLog(p.Log)
	p.Registry.MustRegister(GoMetrics())
	go func() {
		p.Log.Debug().Err(control.follow()).Msg("the supervisor is gone")
		os.Exit(1)
	}()

	adminListener, err := inheritedListener(adminFD, "admin")
	if err != nil {
		return startedByHand(name, err)
	}
	if p.Listener, err = optionalListener(listenerFD, name); err != nil {
		return startedByHand(name, err)
	}
	profiles := http.NotFoundHandler()
	if all.Pprof {
		profiles = profile.Enable()
	}
	admin := serveAdmin(adminListener, p, profiles)
	defer admin.Close()
	p.ReadyBut, p.Tell = admin.markReady, admin.tell
	return f(ctx, p, first, control.updates)
}

func startedByHand(name string, err error) error {
	return fmt.Errorf("%s is a part of registry-cache that only its supervisor can start, run `registry-cache serve` instead: %w", name, err)
}

// showName makes tools that show a process's short name (top, pgrep) say
// registry-cache: started through /proc/self/exe, the kernel calls it "exe".
// Nothing depends on it.
func showName() {
	_ = os.WriteFile("/proc/self/comm", []byte("registry-cache"), 0)
}
