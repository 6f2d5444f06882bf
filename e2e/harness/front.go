package harness

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Request is one request as a Front saw it arrive.
type Request struct {
	Method string
	// Path includes the query, if any.
	Path   string
	Header http.Header

	state *state
}

// Sent is how many bytes of the answer's body were written so far.
func (r Request) Sent() int64 { return r.state.sent.Load() }

// state is how far the answer to a request is.
type state struct {
	sent  atomic.Int64
	ended atomic.Bool
}

// Front is the network before a server: it records every request, plays the
// faults it was told to, and can go away and come back on the same port.
type Front struct {
	t    testing.TB
	next http.Handler
	tls  *tls.Config
	addr string

	mu       sync.Mutex
	server   *http.Server
	requests []Request
	faults   []*Injection
}

// Injection is one fault being played.
type Injection struct {
	front  *Front
	method string
	path   *regexp.Regexp
	fault  Fault
}

// NewFront listens on addr, of which the port is usually 0, before next; with
// TLS where a configuration is given.
func NewFront(t testing.TB, addr string, next http.Handler, tlsConfig *tls.Config) *Front {
	t.Helper()
	if addr == "127.0.0.1:0" {
		addr = "127.0.0.1:" + FreePort(t) // one that is still free after Stop
	}
	f := &Front{t: t, next: next, tls: tlsConfig, addr: addr}
	f.Start()
	t.Cleanup(f.Stop)
	return f
}

// Host is the address that the Front listens on, as host:port.
func (f *Front) Host() string { return f.addr }

// URL is Host with its scheme.
func (f *Front) URL() string {
	if f.tls != nil {
		return "https://" + f.addr
	}
	return "http://" + f.addr
}

// Start listens again after Stop, on the same port. A process that is just
// being started may hold the old socket for a moment longer (see isFree).
func (f *Front) Start() {
	f.t.Helper()
	var l net.Listener
	var err error
	Within(Patience, func() bool {
		l, err = net.Listen("tcp", f.addr)
		return !errors.Is(err, syscall.EADDRINUSE)
	})
	require.NoError(f.t, err)
	f.addr = l.Addr().String()
	if f.tls != nil {
		l = tls.NewListener(l, f.tls)
	}
	server := &http.Server{Handler: f, ErrorLog: quiet}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// Stop closes the port and every connection, as a dead host would. It may be
// called twice.
func (f *Front) Stop() {
	f.mu.Lock()
	server := f.server
	f.mu.Unlock()
	_ = server.Close()
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := Request{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header.Clone(), state: &state{}}
	defer request.state.ended.Store(true)
	w = &meter{ResponseWriter: w, state: request.state}
	f.mu.Lock()
	f.requests = append(f.requests, request)
	var fault Fault
	for _, in := range f.faults {
		if in.matches(r.Method, r.URL.RequestURI()) {
			fault = in.fault
			break
		}
	}
	f.mu.Unlock()
	if fault != nil {
		fault(w, r, f.next)
		return
	}
	f.next.ServeHTTP(w, r)
}

// Inject plays the fault for each request whose method is method (any when
// empty) and whose path matches the regular expression path, until removed.
// An older injection wins over a newer one.
func (f *Front) Inject(method, path string, fault Fault) *Injection {
	in := &Injection{front: f, method: method, path: regexp.MustCompile(path), fault: fault}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, in)
	return in
}

// Remove ends the injection for requests to come.
func (in *Injection) Remove() {
	in.front.mu.Lock()
	defer in.front.mu.Unlock()
	for i, other := range in.front.faults {
		if other == in {
			in.front.faults = append(in.front.faults[:i:i], in.front.faults[i+1:]...)
			return
		}
	}
}

func (in *Injection) matches(method, path string) bool {
	return (in.method == "" || in.method == method) && in.path.MatchString(path)
}

// Requests returns those seen so far whose method is method (any when empty)
// and whose path matches the regular expression path.
func (f *Front) Requests(method, path string) []Request {
	want := Injection{method: method, path: regexp.MustCompile(path)}
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []Request
	for _, r := range f.requests {
		if want.matches(r.Method, r.Path) {
			found = append(found, r)
		}
	}
	return found
}

// Count is the number of Requests.
func (f *Front) Count(method, path string) int { return len(f.Requests(method, path)) }

// Sent is how many bytes of bodies were written in answer to these Requests.
func (f *Front) Sent(method, path string) int64 {
	var n int64
	for _, r := range f.Requests(method, path) {
		n += r.Sent()
	}
	return n
}

// Active is how many of these Requests are being answered now.
func (f *Front) Active(method, path string) int {
	n := 0
	for _, r := range f.Requests(method, path) {
		if !r.state.ended.Load() {
			n++
		}
	}
	return n
}

// meter counts the bytes of a body.
type meter struct {
	http.ResponseWriter
	state *state
}

func (m *meter) Unwrap() http.ResponseWriter { return m.ResponseWriter }

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.ResponseWriter.Write(p)
	m.state.sent.Add(int64(n))
	return n, err
}

// Forget empties the record.
func (f *Front) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = nil
}
