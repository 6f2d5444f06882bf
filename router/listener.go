package router

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// listener decides for each connection whether it speaks TLS, so that a
// certificate can come, change or go without closing the socket.
type listener struct {
	net.Listener
	state *atomic.Pointer[state]
}

// Accept hands a plain connection on as it is, since only the bare
// *net.TCPConn reaches sendfile. The handshake is net/http's, with its timeout.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if cfg := l.state.Load().tls; cfg != nil {
		return tls.Server(conn, cfg), nil
	}
	return conn, nil
}
