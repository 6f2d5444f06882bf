package router

import (
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

var errTooShort = errors.New("the file is shorter than the worker's marks say")

func isGrowing(response *http.Response) bool {
	return (response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent) &&
		response.Header.Get(growingHeader) != ""
}

// namesFile says that the router is to send a file in the answer's stead.
func namesFile(response *http.Response) bool { return isHandoff(response) || isGrowing(response) }

// followFile answers with a file that grows. An error means that nothing was
// answered yet.
func (h *handler) followFile(a *answer, r *http.Request, response *http.Response, u *upstream) error {
	g, file, err := h.openGrowing(response.Header.Get(growingHeader))
	if err != nil {
		_ = response.Body.Close()
		return err
	}
	defer func() { _ = file.Close() }()
	copyHeader(a.Header(), response)
	a.Header().Set("Content-Length", strconv.FormatInt(g.Length, 10))
	a.WriteHeader(response.StatusCode)

	m := newMarks(response.Body, g.Length)
	defer m.close()
	for sent := int64(0); sent < g.Length; {
		n, err := m.take()
		switch {
		case err == nil:
			h.sendSpan(a, r, file, n, u)
		case errors.Is(err, errInline):
			n = h.sendInline(a, r, m, u)
		default:
			h.brokeOff(r, u, err)
		}
		sent += n
	}
	m.finish()
	return nil
}

// openGrowing opens the file that a worker names, where the answer begins.
func (h *handler) openGrowing(name string) (images.Growing, *os.File, error) {
	g, err := images.ParseGrowing(name)
	if err != nil {
		return g, nil, fmt.Errorf("the worker's %s: %w", growingHeader, err)
	}
	file, err := h.store.OpenGrowing(g)
	if err != nil {
		return g, nil, err
	}
	if _, err := file.Seek(g.Offset, io.SeekStart); err != nil {
		_ = file.Close()
		return g, nil, err
	}
	return g, file, nil
}

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

// sendInline sends bytes that come among the marks in the file's stead, and
// returns how many there were.
func (h *handler) sendInline(a *answer, r *http.Request, m *marks, u *upstream) int64 {
	n, err := m.takeInline()
	if err != nil {
		h.brokeOff(r, u, err)
	}
	body := &io.LimitedReader{R: m.r, N: n}
	h.relay(a, r, body, u)
	if body.N > 0 {
		h.brokeOff(r, u, io.ErrUnexpectedEOF)
	}
	return n
}
