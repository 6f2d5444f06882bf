package router

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"registrycache/logger/accesslog"
	"registrycache/router/address"
	"registrycache/router/pulls"
)

// stream is what net/http uses of a plain TCP connection. ReadFrom is how it
// has the kernel send a file.
type stream interface {
	net.Conn
	io.ReaderFrom
	CloseWrite() error
}

// shortcut is a plain connection that answers hits on small answers by itself,
// below net/http, which would spend more on such a request than all the rest of
// it costs: while net/http waits for the next request and reads, it is answered
// here, and net/http reads on.
//
// Only requests of the plainest kind (see head) that came in one piece take the
// shortcut, and only where net/http holds no byte of a request: it must have
// finished as many requests as heads were passed to it. Everything else goes up
// to net/http as it came, and means there what it always meant.
type shortcut struct {
	stream
	h    *handler
	peer string

	// net/http reads from one goroutine at a time, which these belong to.
	heads    heads
	finished int
	// extended is when the time to wait for a request was last prolonged, since
	// net/http does not know that there was one; zero if it does.
	extended time.Time

	// answering is held while an answer is sent and recorded.
	answering sync.Mutex
}

// closeGrace is how long the client of an answer under way may take for the rest
// of it once the connection is to be closed.
const closeGrace = time.Second

// extendParts is in how many parts of the idle timeout it is begun anew: doing
// that for each request would cost a good part of it.
const extendParts = 8

// newShortcut returns the connection that net/http is to be given.
func newShortcut(conn net.Conn, h *handler) net.Conn {
	if s, ok := conn.(stream); ok {
		return &shortcut{stream: s, h: h, peer: conn.RemoteAddr().String()}
	}
	return conn
}

// connState is told by net/http what it does with a connection. A request has
// been finished when it becomes idle.
func connState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*shortcut); ok && state == http.StateIdle {
		c.finished++
		c.extended = time.Time{}
	}
}

func (c *shortcut) Read(p []byte) (int, error) {
	for {
		ours := c.heads.between() && c.heads.ended == c.finished
		n, err := c.stream.Read(p)
		if ours && n > 0 && err == nil {
			if hd, ok := parseHead(p[:n]); ok {
				answered, err := c.answer(hd)
				if err != nil {
					_ = c.stream.Close() // nobody knows how much of the answer went out
					return 0, err
				}
				if answered {
					continue
				}
			}
			if !c.extended.IsZero() {
				_ = c.SetReadDeadline(time.Now().Add(c.h.tune.readHeaderTimeout))
			}
		}
		c.heads.scan(p[:n])
		return n, err
	}
}

// Close lets an answer under way go out: to net/http the connection is idle
// all the while.
func (c *shortcut) Close() error {
	if !c.answering.TryLock() {
		_ = c.SetWriteDeadline(time.Now().Add(closeGrace))
		c.answering.Lock()
	}
	defer c.answering.Unlock()
	return c.stream.Close()
}

// answer answers from memory, or says that it can't. An error is that of the
// connection.
func (c *shortcut) answer(hd head) (bool, error) {
	c.answering.Lock()
	defer c.answering.Unlock()
	now := time.Now()
	record := recordOf(hd, now, c.peer)
	e := c.h.lookUp(hd, now, &record)
	if e == nil {
		return false, nil
	}
	n, err := e.writeTo(c.stream, hd.method, now)
	record.Status, record.Cache, record.Bytes = http.StatusOK, accesslog.Hit, n
	c.h.finish(&record)
	c.h.pulls.Answered(&record, pulls.Answer{Contents: e.contents, Cut: err != nil})
	if idle := c.h.tune.idleTimeout; now.Sub(c.extended) > idle/extendParts {
		c.extended = now
		_ = c.SetReadDeadline(now.Add(idle))
	}
	return true, err
}

func recordOf(hd head, now time.Time, peer string) accesslog.Record {
	return accesslog.Record{Time: now.UTC(), RemoteAddr: peer, Method: hd.method, Path: hd.path, UserAgent: hd.userAgent}
}

// lookUp returns what a request may be answered with right away, or nil, and
// completes the record.
func (h *handler) lookUp(hd head, now time.Time, record *accesslog.Record) *hit {
	st := h.state.Load()
	user, ok := st.gate.recall(hd.authorization, now)
	if !ok {
		return nil
	}
	target, err := st.table.Parse(hd.path, hd.query)
	if err != nil || target.Kind != address.Manifests && target.Kind != address.Referrers {
		return nil
	}
	e := h.hits.get(target.String(), st.upstreams[target.Route.Path], now)
	if e == nil {
		return nil
	}
	record.User = user
	describe(record, target)
	if d := e.header.Get(digestHeader); d != "" {
		record.Digest = d
	}
	return e
}

// maxCopied is the size up to which a body is copied behind its header, to go
// out in one piece.
const maxCopied = 32 << 10

var wires = sync.Pool{New: func() any { return new([]byte) }}

// writeTo sends the whole answer and returns how much of the body went out.
func (e *hit) writeTo(conn net.Conn, method string, now time.Time) (int64, error) {
	pooled := wires.Get().(*[]byte)
	defer wires.Put(pooled)
	wire := (*pooled)[:0]
	wire = append(wire, "HTTP/1.1 200 OK\r\n"...)
	wire = append(wire, e.wire...)
	wire = append(wire, "Age: "...)
	wire = strconv.AppendInt(wire, int64(e.age(now)), 10)
	wire = append(wire, "\r\nDate: "...)
	wire = now.UTC().AppendFormat(wire, http.TimeFormat)
	wire = append(wire, "\r\n\r\n"...)
	header := len(wire)
	body := e.body
	if method == http.MethodHead {
		body = nil
	}
	pieces := net.Buffers{nil, nil}[:1]
	if len(body) <= maxCopied {
		wire = append(wire, body...)
	} else {
		pieces = append(pieces, body)
	}
	pieces[0] = wire
	*pooled = wire
	if len(pieces) == 1 {
		n, err := conn.Write(wire)
		return int64(max(n-header, 0)), err
	}
	n, err := pieces.WriteTo(conn)
	return max(n-int64(header), 0), err
}
