package pullthrough

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// serveContent is http.ServeContent for bytes that may fail to come. The
// client has been told how many there are: when some are missing the connection
// is aborted, because clients keep what a clean end gave them.
func serveContent(w http.ResponseWriter, req *http.Request, content io.ReadSeeker) {
	r := &failingReader{ReadSeeker: content}
	http.ServeContent(&promptWriter{ResponseWriter: w, connection: http.NewResponseController(w)}, req, "", time.Time{}, r)
	if r.failed() {
		panic(http.ErrAbortHandler)
	}
}

// failingReader remembers that a read failed. For several ranges
// http.ServeContent reads in a goroutine of its own.
type failingReader struct {
	io.ReadSeeker
	mu  sync.Mutex
	err error
}

func (r *failingReader) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
	}
	return n, err
}

func (r *failingReader) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil
}

// promptWriter passes on what it gets at once: net/http would keep the first
// bytes of a slow upstream until there are more.
type promptWriter struct {
	http.ResponseWriter
	connection *http.ResponseController
}

func (w *promptWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if err == nil {
		err = w.connection.Flush()
	}
	return n, err
}

type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// ReadFrom spares io.Copy a buffer for each answer.
func (w *promptWriter) ReadFrom(r io.Reader) (n int64, err error) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for {
		read, readErr := r.Read(buf[:])
		if read > 0 {
			written, err := w.Write(buf[:read])
			n += int64(written)
			if err != nil {
				return n, err
			}
		}
		if errors.Is(readErr, io.EOF) {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}
