package harness

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Sequence plays the first fault for the first request, the second for the
// second, and so on, and passes on those for which it has none or nil.
func Sequence(faults ...Fault) Fault {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		i := int(n.Add(1)) - 1
		if i < len(faults) && faults[i] != nil {
			faults[i](w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// NoRanges answers every range with the whole, as servers may.
func NoRanges() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		next.ServeHTTP(&without{ResponseWriter: w, field: "Accept-Ranges"}, r)
	}
}

// Chunked sends the body without saying how long it is, and no range of it.
func Chunked() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		next.ServeHTTP(&without{ResponseWriter: w, field: "Content-Length"}, r)
	}
}

// without leaves a field out of the answer's header.
type without struct {
	http.ResponseWriter
	field string
}

func (w *without) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *without) WriteHeader(status int) {
	w.Header().Del(w.field)
	w.ResponseWriter.WriteHeader(status)
}

func (w *without) Write(p []byte) (int, error) {
	w.Header().Del(w.field) // a Write may come without WriteHeader
	return w.ResponseWriter.Write(p)
}

// Content answers with other content than asked for, ranges included.
func Content(mediaType string, content []byte, fields ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		for i := 0; i+1 < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// WrongRange sends other bytes than those that the range asked for, and says
// so in Content-Range.
func WrongRange(content []byte) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(content)-1, len(content)))
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(content)
	}
}

// Redirect sends the client to the same path of another address.
func Redirect(to string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}
}

// WantBasic demands a user and password, as registries without a token server
// do.
func WantBasic(user, password string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}
}
