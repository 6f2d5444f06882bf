package router

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"registrycache/images"
)

// growingHeader of a request says that the answer may name a file that grows
// and, as its body, tell how far that is there (images.Growing, images.Mark);
// of an answer it names the file. So the bytes of a miss go the way of a hit's:
// from the file to the client. It passes between worker and router only.
const growingHeader = "X-Accel-Growing"

// markBuffer is for reading marks, each a few bytes, and a few of them at most
// wait to be read.
const markBuffer = 512

func isGrowing(response *http.Response) bool {
	return (response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent) &&
		response.Header.Get(growingHeader) != ""
}

// namesFile says that the router is to send a file in the answer's stead.
func namesFile(response *http.Response) bool { return isHandoff(response) || isGrowing(response) }

// followFile answers with a file that grows. An error means that nothing was
// answered yet.
func (h *handler) followFile(a *answer, r *http.Request, response *http.Response, u *upstream) error {
	defer func() { _ = response.Body.Close() }()
	g, err := images.ParseGrowing(response.Header.Get(growingHeader))
	if err != nil {
		return fmt.Errorf("the worker's %s: %w", growingHeader, err)
	}
	file, err := h.store.OpenGrowing(g)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(g.Offset, io.SeekStart); err != nil {
		return err
	}
	copyHeader(a.Header(), response)
	a.Header().Set("Content-Length", strconv.FormatInt(g.Length, 10))
	a.WriteHeader(response.StatusCode)
	h.sendMarked(a, r, file, bufio.NewReaderSize(response.Body, markBuffer), g.Length, u)
	return nil
}

// sendMarked sends so many bytes as marks say where they are.
func (h *handler) sendMarked(a *answer, r *http.Request, file *os.File, marks *bufio.Reader, length int64, u *upstream) {
	for length > 0 {
		m, err := images.ReadMark(marks)
		switch {
		case err != nil:
			h.brokeOff(r, u, err)
		case m.N > length:
			h.brokeOff(r, u, errTooMuch)
		case m.Inline:
			h.sendInline(a, r, file, marks, m.N, u)
		default:
			h.sendSpan(a, r, file, m.N, u)
		}
		length -= m.N
	}
	// Only a connection whose answer was read to its end is used again.
	_, _ = marks.ReadByte()
}

var (
	errTooMuch  = errors.New("the worker's marks are for more than the answer")
	errTooShort = errors.New("the file is shorter than the worker's marks say")
)

// sendSpan sends the next n bytes of the file.
func (h *handler) sendSpan(a *answer, r *http.Request, file *os.File, n int64, u *upstream) {
	sent, err := a.ReadFrom(io.LimitReader(file, n))
	if err == nil && sent < n {
		h.brokeOff(r, u, errTooShort)
	}
	if err == nil {
		err = http.NewResponseController(a).Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// sendInline sends n bytes that come among the marks in the file's stead.
func (h *handler) sendInline(a *answer, r *http.Request, file *os.File, marks io.Reader, n int64, u *upstream) {
	body := &io.LimitedReader{R: marks, N: n}
	h.relay(a, r, body, u)
	if body.N > 0 {
		h.brokeOff(r, u, io.ErrUnexpectedEOF)
	}
	if _, err := file.Seek(n, io.SeekCurrent); err != nil {
		h.brokeOff(r, u, err)
	}
}
