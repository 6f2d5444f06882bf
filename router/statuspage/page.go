package statuspage

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Paths that are answered.
const (
	Path       = "/"
	jsonPath   = "/status.json"
	eventsPath = "/status/events"
)

// Page answers requests for the state of the cache. Its methods may be called
// at the same time.
type Page struct {
	source *source
	// seats are taken by the streams that are open.
	seats chan struct{}
	// closing is closed by Close.
	closing   chan struct{}
	closeOnce sync.Once
}

// maxStreams bounds how many may watch at a time.
const maxStreams = 100

// New makes the page of the cache whose supervisor answers on a unix socket.
// Until somebody looks it does nothing and has next to no memory.
func New(socket string) *Page {
	return newPage(newSource(askSupervisor(socket)))
}

func newPage(s *source) *Page {
	return &Page{source: s, seats: make(chan struct{}, maxStreams), closing: make(chan struct{})}
}

// Close ends the streams, which would go on for as long as somebody looks.
func (p *Page) Close() {
	p.closeOnce.Do(func() {
		close(p.closing)
		p.source.close()
	})
}

// Serves says whether a path, as EscapedPath gives it, is one of the page.
func Serves(path string) bool {
	_, file := files[path]
	return file || path == Path || path == jsonPath || path == eventsPath
}

// Wanted says whether a client asks for a page rather than for a text: as
// browsers do, and curl and probes do not.
func Wanted(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for accepted := range strings.SplitSeq(line, ",") {
			mediaType, params, err := mime.ParseMediaType(accepted)
			if err != nil || mediaType != "text/html" {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}

// policy allows the page what is its own, and nobody to frame it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP answers GET and HEAD for what Serves names.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	path := r.URL.EscapedPath()
	if f, ok := files[path]; ok {
		f.serve(w, r)
		return
	}
	header.Set("Cache-Control", "no-store")
	switch path {
	case Path:
		p.html(w, r)
	case jsonPath:
		p.json(w, r)
	case eventsPath:
		p.stream(w, r)
	default:
		http.NotFound(w, r)
	}
}

// retryAfter is when to ask again, in seconds, after there was no answer.
const retryAfter = "5"

func (p *Page) html(w http.ResponseWriter, r *http.Request) {
	s, err := p.source.current(r.Context())
	status := http.StatusOK
	if err != nil {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfter)
		// Understood by browsers, with a script and without.
		w.Header().Set("Refresh", retryAfter)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	write(w, status, renderPage(s, placeOf(r), err))
}

func (p *Page) json(w http.ResponseWriter, r *http.Request) {
	s, err := p.source.current(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", retryAfter)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		write(w, http.StatusServiceUnavailable, []byte(unavailable(err)+"\n"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, http.StatusOK, s.raw)
}

// unavailable says in words why there is no state to show.
func unavailable(err error) string {
	if errors.Is(err, errNoSocket) {
		return "This process was not told where the state of the cache is to be had."
	}
	return "The supervisor of the cache does not answer. Pulls may work all the same."
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; net/http sends no body to HEAD
}
