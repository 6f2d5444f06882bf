package bench

import (
	"io"
	"net"
	"sync"
	"time"
)

// distance is how far away an upstream is. What is 0 is as near and as wide as
// loopback.
type distance struct {
	// latency comes before the first byte of each connection, as its handshake
	// does, and before each answer.
	latency time.Duration
	// perConnection and link are bytes a second, of one connection and of all
	// together.
	perConnection, link int64
}

// paceChunk is sent at once; at 20 MB/s it is 3 ms worth.
const paceChunk = 64 * kiB

// paceCredit is how much lost time may be caught up, since timers are late.
const paceCredit = 5 * time.Millisecond

// pacer lets so many bytes a second pass.
type pacer struct {
	rate int64

	mu   sync.Mutex
	next time.Time
}

// wait waits until n further bytes may pass.
func (p *pacer) wait(n int64) {
	if p.rate == 0 {
		return
	}
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-paceCredit); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	p.mu.Unlock()
	time.Sleep(wait)
}

// farListener makes the clients of a server as far away as distance says.
type farListener struct {
	net.Listener
	distance distance
	link     *pacer
}

func (l farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &farConn{
		TCPConn: conn.(*net.TCPConn), latency: l.distance.latency,
		own: &pacer{rate: l.distance.perConnection}, link: l.link,
	}, nil
}

type farConn struct {
	*net.TCPConn
	latency   time.Duration
	handshake sync.Once
	own, link *pacer
}

func (c *farConn) Read(p []byte) (int, error) {
	c.handshake.Do(func() { time.Sleep(c.latency) })
	return c.TCPConn.Read(p)
}

func (c *farConn) paced() bool { return c.own.rate != 0 || c.link.rate != 0 }

func (c *farConn) Write(p []byte) (int, error) {
	if !c.paced() {
		return c.TCPConn.Write(p)
	}
	written := 0
	for written < len(p) {
		chunk := p[written:min(len(p), written+paceChunk)]
		c.own.wait(int64(len(chunk)))
		c.link.wait(int64(len(chunk)))
		n, err := c.TCPConn.Write(chunk)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom keeps sendfile, so that the upstream costs the machine as little as
// it can.
func (c *farConn) ReadFrom(src io.Reader) (int64, error) {
	if !c.paced() {
		return c.TCPConn.ReadFrom(src)
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return io.Copy(onlyWriter{c}, src)
	}
	var sent int64
	for limited.N > 0 {
		// Not a LimitedReader of a LimitedReader, which would end sendfile.
		chunk := &io.LimitedReader{R: limited.R, N: min(limited.N, paceChunk)}
		c.own.wait(chunk.N)
		c.link.wait(chunk.N)
		n, err := c.TCPConn.ReadFrom(chunk)
		sent, limited.N = sent+n, limited.N-n
		if err != nil || n == 0 {
			return sent, err
		}
	}
	return sent, nil
}
