package router

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitStall has the kernel end a connection on which the client has taken
// nothing for so long, as slow as it may otherwise be (tcp(7), TCP_USER_TIMEOUT).
// It would hold its descriptor for ever, and the place on the disk of a blob that
// was evicted meanwhile. A deadline for each write would do the same in this
// process, at a cost for each.
//
// It does nothing where there is no such option, as over Multipath TCP: there a
// client is waited for. The listening socket is one of that kind, so that each
// connection is asked by itself.
func limitStall(conn net.Conn, longest time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(longest.Milliseconds()))
	})
}
