package harness

import (
	"io"
	"log"
	"net/http"
)

// Fault answers a request in the place of next, or with its help.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// quiet keeps aborted requests, which are wanted here, out of the test's output.
var quiet = log.New(io.Discard, "", 0)

// Drop closes the connection without an answer.
func Drop() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// Hang never answers; it ends when the client gives up or the Front stops.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Status answers with a status and the given header fields, name and value in
// turn, as a registry or a proxy before it would.
func Status(code int, fields ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>"+http.StatusText(code)+"</html>")
	}
}

// AddHeader passes the answer on with more header fields, name and value in
// turn.
func AddHeader(fields ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for i := 0; i+1 < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		next.ServeHTTP(w, r)
	}
}

// Wait holds the request back until the channel is closed.
func Wait(until <-chan struct{}) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-until:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// CutAfter closes the connection after n bytes of the body.
func CutAfter(n int) Fault {
	return body(n, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// WaitAfter sends n bytes of the body, and the rest when the channel is
// closed; nil is never.
func WaitAfter(n int, until <-chan struct{}) Fault {
	return body(n, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(http.ErrAbortHandler)
		}
		select {
		case <-until:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
}

// Corrupt flips the bits of every byte of the body.
func Corrupt() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&flipper{ResponseWriter: w}, r)
	}
}

type flipper struct{ http.ResponseWriter }

func (f *flipper) Write(p []byte) (int, error) {
	flipped := make([]byte, len(p))
	for i, b := range p {
		flipped[i] = ^b
	}
	return f.ResponseWriter.Write(flipped)
}

// body runs act once, when n bytes of the body were sent.
func body(n int, act func(http.ResponseWriter, *http.Request)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&tap{ResponseWriter: w, left: n, act: func() { act(w, r) }}, r)
	}
}

type tap struct {
	http.ResponseWriter
	left int
	act  func()
}

func (t *tap) Write(p []byte) (int, error) {
	sent := 0
	if t.act != nil && len(p) > t.left {
		n, err := t.ResponseWriter.Write(p[:t.left])
		if err != nil {
			return n, err
		}
		sent, t.left = n, 0
		act := t.act
		t.act = nil
		act()
	}
	n, err := t.ResponseWriter.Write(p[sent:])
	t.left -= n
	return sent + n, err
}
