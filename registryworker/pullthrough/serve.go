package pullthrough

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// serveContent is http.ServeContent for bytes that may fail to come. It returns
// an error when there was not a single one, and nothing is answered yet. Later
// the client has been told how many there are: the connection is aborted,
// because clients keep what a clean end gave them.
func serveContent(w http.ResponseWriter, req *http.Request, content io.ReadSeeker) error {
	b := newBody(w, content)
	http.ServeContent(&b, req, "", time.Time{}, b.content)
	return b.finish()
}

// body is what http.ServeContent, which works out ranges and conditions, writes
// to. It holds the header back until there are bytes, and passes these on at
// once: net/http would keep the first of a slow upstream until there are more.
type body struct {
	http.ResponseWriter
	connection *http.ResponseController
	content    *failingReader
	held       int // status of the header that is held back
}

func newBody(w http.ResponseWriter, content io.ReadSeeker) body {
	return body{
		ResponseWriter: w, connection: http.NewResponseController(w),
		content: &failingReader{ReadSeeker: content},
	}
}

func (b *body) WriteHeader(status int) { b.held = status }

func (b *body) release() {
	if b.held != 0 {
		b.ResponseWriter.WriteHeader(b.held)
		b.held = 0
	}
}

func (b *body) Write(p []byte) (int, error) {
	b.release()
	n, err := b.ResponseWriter.Write(p)
	if err == nil {
		err = b.connection.Flush()
	}
	return n, err
}

// ofBytes are the fields that http.ServeContent and its callers set for the
// bytes, and that an error in their stead must not have.
var ofBytes = []string{"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "Docker-Content-Digest", "Etag"}

// finish is called when http.ServeContent has returned.
func (b *body) finish() error {
	err := b.content.failure()
	if err == nil {
		b.release() // of an answer without a body
		return nil
	}
	if b.held == 0 {
		panic(http.ErrAbortHandler)
	}
	for _, name := range ofBytes {
		b.Header().Del(name)
	}
	return err
}

type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// ReadFrom spares io.Copy a buffer for each answer.
func (b *body) ReadFrom(r io.Reader) (n int64, err error) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for {
		read, readErr := r.Read(buf[:])
		if read > 0 {
			written, err := b.Write(buf[:read])
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
		r.fail(err)
	}
	return n, err
}

func (r *failingReader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *failingReader) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
