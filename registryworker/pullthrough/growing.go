package pullthrough

import (
	"errors"
	"io"
	"net/http"
	"time"

	"registrycache/images"
	"registrycache/registryworker/fill"
)

// headerGrowing of a request says that the router can send a file that grows,
// and of an answer names it (images.Growing). The body of such an answer is
// images.Marks, and Content-Length is for the router to set.
const headerGrowing = "X-Accel-Growing"

// minGrowing is the size in bytes of a body from which on it costs less to have
// the file sent than to copy it.
const minGrowing = 128 << 10

// markPause is the least time between two marks of one body. Without it each
// read from the upstream would wake every reader here and in the router; a
// network brings bytes in small pieces.
const markPause = 2 * time.Millisecond

// growing is a *fill.Reader.
type growing interface {
	io.ReadSeeker
	Grant(limit int64) (int64, error)
	Growing(offset, length int64) (images.Growing, error)
}

// serveGrowing is serveContent for a router that takes marks for bytes.
func serveGrowing(w http.ResponseWriter, req *http.Request, blob growing) error {
	m := &markedBody{body: newBody(w, blob), blob: blob}
	http.ServeContent(m, req, "", time.Time{}, m.content)
	return m.finish()
}

// markedBody sends marks for bytes where the router is to send a single run of
// them.
type markedBody struct {
	body
	blob growing
}

// ReadFrom gets the body as io.CopyN gives it. The number it returns is that of
// the body's bytes, whoever sends them.
func (m *markedBody) ReadFrom(src io.Reader) (int64, error) {
	run, ok := src.(*io.LimitedReader)
	if ok && run.R == m.content && run.N >= minGrowing {
		n, err := m.mark(run.N)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fill.ErrNotInFile) {
			m.content.fail(err)
			return n, err
		}
	}
	return m.body.ReadFrom(src)
}

// mark sends marks for a body of so many bytes. fill.ErrNotInFile means that
// nothing was sent.
func (m *markedBody) mark(length int64) (sent int64, err error) {
	n, err := m.announce(length)
	for err == nil {
		if _, err = m.Write(images.AppendMark(nil, images.Mark{N: n})); err != nil {
			break
		}
		if sent += n; sent == length {
			break
		}
		time.Sleep(markPause)
		n, err = m.blob.Grant(length - sent)
		if errors.Is(err, fill.ErrNotInFile) {
			n, err = m.inline(length - sent)
			return sent + n, err
		}
	}
	return sent, err
}

// announce waits for the first bytes, since only then it is clear which file
// they are in, and returns how many there are.
func (m *markedBody) announce(length int64) (int64, error) {
	offset, err := m.blob.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n, err := m.blob.Grant(length)
	if err != nil {
		return 0, err
	}
	g, err := m.blob.Growing(offset, length)
	if err != nil {
		return 0, err
	}
	m.Header().Set(headerGrowing, g.String())
	m.Header().Del("Content-Length")
	return n, nil
}

// inline sends the rest of the bytes between marks.
func (m *markedBody) inline(length int64) (sent int64, err error) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for sent < length {
		n, err := m.content.Read(buf[:min(int64(len(buf)), length-sent)])
		if err != nil {
			return sent, err
		}
		_, err = m.ResponseWriter.Write(images.AppendMark(nil, images.Mark{N: int64(n), Inline: true}))
		if err == nil {
			_, err = m.Write(buf[:n])
		}
		if err != nil {
			return sent, err
		}
		sent += int64(n)
	}
	return sent, nil
}
