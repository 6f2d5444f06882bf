package harness

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy is a forward proxy between the cache and its upstreams. It takes every
// name for that of one server, so that what arrives there by a name that does
// not exist came through the proxy.
type Proxy struct {
	// Host is its address as host:port.
	Host string

	to string
	mu sync.Mutex
	// saw is what was asked of it: the method or protocol, and host:port.
	saw []string
}

// Saw is what was asked of the proxy so far: CONNECT, GET, HEAD or SOCKS5, and
// the host:port wanted.
func (p *Proxy) Saw() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.saw)
}

func (p *Proxy) note(method, target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saw = append(p.saw, method+" "+target)
}

// NewHTTPProxy passes on plain requests and CONNECT to the server at to, for
// the user me with the password hunter2.
func NewHTTPProxy(t testing.TB, to string) *Proxy {
	return newProxy(t, to, func(p *Proxy, conn net.Conn) error {
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		p.note(r.Method, r.Host)
		if r.Header.Get("Proxy-Authorization") != "Basic bWU6aHVudGVyMg==" {
			_, err := io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return err
		}
		upstream, err := net.Dial("tcp", p.to)
		if err != nil {
			return err
		}
		if r.Method == http.MethodConnect {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		} else {
			r.Header.Del("Proxy-Authorization")
			r.Close = true // one request a connection is enough here
			err = r.Write(upstream)
		}
		if err == nil {
			splice(conn, upstream)
		}
		return err
	})
}

// NewSOCKSProxy speaks SOCKS5 (RFC 1928), without authentication and with names.
func NewSOCKSProxy(t testing.TB, to string) *Proxy {
	return newProxy(t, to, func(p *Proxy, conn net.Conn) error {
		target, err := socksTarget(conn)
		if err != nil {
			return err
		}
		p.note("SOCKS5", target)
		upstream, err := net.Dial("tcp", p.to)
		if err != nil {
			return err
		}
		if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
			return err
		}
		splice(conn, upstream)
		return nil
	})
}

// socksTarget reads the greeting and the request, and returns host:port.
func socksTarget(conn net.Conn) (string, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return "", err
	}
	if _, err := io.CopyN(io.Discard, conn, int64(head[1])); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	request := make([]byte, 5)
	if _, err := io.ReadFull(conn, request); err != nil {
		return "", err
	}
	const byName = 3
	if request[3] != byName {
		return "", errors.New("an address where the name was to come")
	}
	rest := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return "", err
	}
	name := rest[:len(rest)-2]
	return fmt.Sprintf("%s:%d", name, binary.BigEndian.Uint16(rest[len(rest)-2:])), nil
}

func newProxy(t testing.TB, to string, serve func(*Proxy, net.Conn) error) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	p := &Proxy{Host: l.Addr().String(), to: to}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = serve(p, conn) // the cache will say what it lacks
			}()
		}
	}()
	return p
}

// splice joins two connections until one of them ends.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	both.Wait()
}
