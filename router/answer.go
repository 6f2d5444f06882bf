package router

import (
	"io"
	"net/http"

	"registrycache/router/pulls"
)

// answer is a ResponseWriter that knows what was sent.
type answer struct {
	http.ResponseWriter
	// method is the request's: HEAD sends no body whatever is written.
	method string
	// status is 0 until the header is written.
	status int
	// sent is the number of body bytes.
	sent int64
	// batch is below the TLS of the connection; nil without TLS.
	batch *batch
	// cut says that the answer could not be sent to its end.
	cut bool

	// pull is what the request belongs to, and contents those of the manifest
	// that is sent; nil where there is none.
	pull     *pulls.Pull
	contents *pulls.Contents
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begin()
	n, err := a.ResponseWriter.Write(p)
	a.count(int64(n), err)
	return n, err
}

// ReadFrom hands the source to net/http, which recognises a file and sends it
// without copying it through this process. What must be encrypted goes in pieces.
func (a *answer) ReadFrom(src io.Reader) (n int64, err error) {
	a.begin()
	if a.batch == nil {
		n, err = io.Copy(a.ResponseWriter, src)
	} else {
		n, err = sendPieces(a.ResponseWriter, src, a.batch)
	}
	a.count(n, err)
	return n, err
}

func (a *answer) begin() {
	if a.status == 0 {
		a.status = http.StatusOK
	}
}

func (a *answer) count(n int64, err error) {
	a.cut = a.cut || err != nil
	if a.method != http.MethodHead {
		a.sent += n
	}
}
