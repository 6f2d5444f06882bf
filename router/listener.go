package router

import (
	"crypto/tls"
	"net"
)

// listener decides for each connection whether it speaks TLS, so that a
// certificate can come, change or go without closing the socket.
type listener struct {
	net.Listener
	h *handler
}

// Accept returns a connection for net/http. The handshake of one with TLS is
// net/http's, with its timeout.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	limitStall(conn, l.h.tune.stallTimeout)
	if cfg := l.h.state.Load().tls; cfg != nil {
		return tls.Server(&batch{Conn: conn}, cfg), nil
	}
	return newShortcut(conn, l.h), nil
}
