package router

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"registrycache/images"
)

// markBuffer is for reading marks, each a few bytes.
const markBuffer = 512

var (
	errTooMuch = errors.New("the worker's marks are for more than the answer")
	errOrder   = errors.New("the worker's marks turn back to the file")
	// errInline says that the next bytes come among the marks.
	errInline = errors.New("the next bytes are not in the file")
)

// marks are read while bytes are sent, however slowly the client takes them: so
// the worker is done when the fill is, and may end, and what came together is
// sent together.
type marks struct {
	body io.ReadCloser
	// r reads the body. It belongs to collect until collected is closed.
	r         *bufio.Reader
	collected chan struct{}
	left      int64 // that there are no marks for yet; belongs to who r belongs to
	inline    int64 // of the mark that collect ended with, if any

	more  chan struct{} // sent to when what follows has changed
	mu    sync.Mutex
	ready int64 // that may be sent from the file, and were not taken
	end   error // what comes after these
}

// newMarks begins to read the marks for so many bytes. It must be closed.
func newMarks(body io.ReadCloser, length int64) *marks {
	m := &marks{
		body: body, r: bufio.NewReaderSize(body, markBuffer), left: length,
		collected: make(chan struct{}), more: make(chan struct{}, 1),
	}
	go m.collect()
	return m
}

// collect reads marks as long as they are for bytes in the file.
func (m *marks) collect() {
	defer close(m.collected)
	for m.left > 0 {
		mark, err := m.next()
		if err == nil && mark.Inline {
			m.inline, err = mark.N, errInline
		}
		m.tell(mark.N, err)
		if err != nil {
			return
		}
	}
	m.readEnd()
}

// readEnd is for when there is nothing left: only a connection to a worker whose
// answer was read to its end is used again.
func (m *marks) readEnd() { _, _ = m.r.ReadByte() }

// next reads a mark.
func (m *marks) next() (images.Mark, error) {
	mark, err := images.ReadMark(m.r)
	if err == nil && mark.N > m.left {
		err = errTooMuch
	}
	m.left -= mark.N
	return mark, err
}

func (m *marks) tell(n int64, end error) {
	m.mu.Lock()
	if end == nil {
		m.ready += n
	}
	m.end = end
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// take waits for bytes that may be sent from the file and returns how many there
// are, or why there are no more. That is errInline when takeInline goes on.
func (m *marks) take() (int64, error) {
	for {
		m.mu.Lock()
		n, end := m.ready, m.end
		m.ready = 0
		m.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if end != nil {
			return 0, end
		}
		<-m.more
	}
}

// takeInline returns how many of the bytes that r has next are the body's.
func (m *marks) takeInline() (int64, error) {
	<-m.collected
	if n := m.inline; n > 0 {
		m.inline = 0
		return n, nil
	}
	mark, err := m.next()
	if err == nil && !mark.Inline {
		err = errOrder
	}
	return mark.N, err
}

// finish is called when all was sent.
func (m *marks) finish() {
	<-m.collected
	m.readEnd()
}

func (m *marks) close() {
	_ = m.body.Close()
	<-m.collected
}
