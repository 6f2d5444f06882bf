// Package profile gives the profiles of this process over HTTP, in the form that
// `go tool pprof` and `go tool trace` take.
//
// It is net/http/pprof's, without what that does by being linked: to register
// itself, whether it is wanted or not.
package profile

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Path is below which the profiles of one process are.
const Path = "/debug/pprof/"

const (
	// sampledBytes is how many bytes are allocated for each sample of the heap,
	// on average: Go's default.
	sampledBytes = 512 << 10
	// maxSeconds is the longest that is recorded.
	maxSeconds = 600
)

// lookups are the profiles that are always there.
var lookups = []string{"heap", "allocs", "goroutine", "threadcreate"}

// recorded are those that are made on demand, for a time.
var recorded = map[string]recording{
	"profile": {seconds: 30, start: pprof.StartCPUProfile, stop: pprof.StopCPUProfile},
	"trace":   {seconds: 1, start: trace.Start, stop: trace.Stop},
}

type recording struct {
	// seconds is for how long, if nobody says.
	seconds int
	start   func(io.Writer) error
	stop    func()
}

// Enable has the heap sampled from now on, and returns what answers below Path.
func Enable() http.Handler {
	runtime.MemProfileRate = sampledBytes
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{$}", index)
	for _, name := range lookups {
		mux.Handle("GET "+Path+name, lookup(name))
	}
	for name, r := range recorded {
		mux.Handle("GET "+Path+name, r)
	}
	return mux
}

func index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, name := range append([]string{"profile", "trace"}, lookups...) {
		_, _ = fmt.Fprintln(w, name)
	}
}

// lookup is the profile of that name. With debug=1 it is a text.
type lookup string

func (name lookup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	debug, err := number(r, "debug", 0, 2)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if name == "heap" && r.FormValue("gc") != "" {
		runtime.GC()
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if debug > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = pprof.Lookup(string(name)).WriteTo(w, debug) // the client is gone
}

// ServeHTTP records until the time is over or the client has left.
func (rec recording) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seconds, err := number(r, "seconds", rec.seconds, maxSeconds)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := rec.start(w); err != nil {
		http.Error(w, err.Error()+"; one at a time", http.StatusConflict)
		return
	}
	defer rec.stop()
	over := time.NewTimer(time.Duration(seconds) * time.Second)
	defer over.Stop()
	select {
	case <-over.C:
	case <-r.Context().Done():
	}
}

// number is the whole number from 0 to most that the query has under name.
func number(r *http.Request, name string, usual, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s=%s: write a whole number from 0 to %d", name, text, most)
	}
	return n, nil
}
