package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// tally is what a load amounted to.
type tally struct {
	requests  int
	bytes     int64
	took      time.Duration
	latencies []time.Duration
}

func (t tally) perSecond() float64 { return float64(t.requests) / t.took.Seconds() }

func (t tally) gib() float64 { return float64(t.bytes) / giB }

// percentile is the latency that so many of a hundred requests kept to.
func (t tally) percentile(p float64) time.Duration {
	slices.Sort(t.latencies)
	return t.latencies[min(len(t.latencies)-1, int(float64(len(t.latencies))*p/100))]
}

// load has so many clients send the same GET over and over, each on a
// connection of its own that stays open, until the time is over.
func (s *server) load(clients int, d time.Duration, path string) (tally, error) {
	lines := make([]*line, clients)
	for i := range lines {
		conn, err := s.dial()
		if err != nil {
			return tally{}, err
		}
		defer func() { _ = conn.Close() }()
		lines[i] = newLine(conn)
	}
	request := s.request(path)
	tallies := make([]tally, clients)
	var clientsDone errgroup.Group
	start := time.Now()
	for i, l := range lines {
		clientsDone.Go(func() error {
			t := &tallies[i]
			for begin := time.Now(); begin.Sub(start) < d; {
				n, err := l.get(request)
				if err != nil {
					return fmt.Errorf("GET %s from %s: %w", path, s.name, err)
				}
				end := time.Now()
				t.latencies = append(t.latencies, end.Sub(begin))
				t.bytes += n
				begin = end
			}
			return nil
		})
	}
	err := clientsDone.Wait()
	sum := tally{took: time.Since(start)}
	for _, t := range tallies {
		sum.requests += len(t.latencies)
		sum.bytes += t.bytes
		sum.latencies = append(sum.latencies, t.latencies...)
	}
	return sum, err
}

// line is a connection of a client that costs the machine as little as it can,
// since it shares the processor with what is measured.
type line struct {
	conn net.Conn
	r    *bufio.Reader
	body []byte
}

const (
	lineHeader = 8 * kiB
	lineBody   = 256 * kiB
)

func newLine(conn net.Conn) *line {
	return &line{conn: conn, r: bufio.NewReaderSize(conn, lineHeader), body: make([]byte, lineBody)}
}

// get sends a request and returns the size of the body, which it read and
// forgot. Everything but 200 with a Content-Length is an error.
func (l *line) get(request []byte) (int64, error) {
	size, err := l.header(request)
	if err != nil {
		return 0, err
	}
	return size, l.discard(size)
}

// discard reads so much of a body.
func (l *line) discard(size int64) error {
	for left := size; left > 0; {
		n, err := l.r.Read(l.body[:min(int64(len(l.body)), left)])
		left -= int64(n)
		if err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
	}
	return nil
}

// header sends a request, reads the answer up to its body and returns the size
// of that.
func (l *line) header(request []byte) (int64, error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, err
	}
	status, err := l.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		rest, _ := io.ReadAll(io.LimitReader(l.r, int64(l.r.Buffered())))
		return 0, fmt.Errorf("%s%s", status, rest)
	}
	size := int64(-1)
	for {
		field, err := l.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		name, value, found := bytes.Cut(bytes.TrimSpace(field), []byte(":"))
		if !found {
			break
		}
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if size, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if size < 0 {
		return 0, fmt.Errorf("no Content-Length")
	}
	return size, nil
}
