package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a listening socket that outlives the processes that accept on it,
// or /dev/null for processes that serve nothing: what they find in its place
// must not be left to chance.
type socket struct {
	file *os.File
	addr net.Addr
	// unixFile identifies the path of a unix socket, nil for TCP.
	unixFile os.FileInfo
}

// orphansEnd is how long the children of a killed supervisor take to end, at
// most, on a busy machine.
const orphansEnd = 2 * time.Second

// listenTCP opens addr, which the operator gave as variable.
func listenTCP(variable, addr string) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", addr)
	// The processes of a supervisor that was killed hold its socket until the
	// kernel has ended them, too.
	for deadline := time.Now().Add(orphansEnd); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline); {
		time.Sleep(orphansEnd / 40)
		l, err = net.Listen("tcp", addr)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use by another program; stop that one, or set %s to a free port", variable, addr, variable)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: no permission to listen on %s; set %s to a port of 1024 or above", variable, addr, variable)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: %s is no address of this machine; set %s to one that is, or to :port for all", variable, addr, variable)
	case err != nil:
		return nil, fmt.Errorf("%s: %w; the form is host:port or :port", variable, err)
	}
	return l.(*net.TCPListener), nil
}

// listenUnix opens a unix socket at path to hand down, for this user alone.
// Whatever is at path is replaced.
func listenUnix(path string) (*socket, error) {
	l, err := bindUnix(path)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	s, err := hold(l)
	if err != nil {
		return nil, err
	}
	if s.unixFile, err = os.Lstat(path); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// bindUnix opens a unix socket at path, for this user alone, whose end removes
// path. Whatever is at path is replaced.
func bindUnix(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// filer is a listener that is made of one file descriptor.
type filer interface {
	net.Listener
	File() (*os.File, error)
}

// hold turns a listener into a socket to hand down, and closes the listener.
//
// The descriptor must be one that os.File.Fd leaves alone: on those of package
// net it switches to blocking mode, and the mode is shared with every process
// that has the socket. One that is accepting while a second process is started
// would then hang in accept, deaf to its own Close. A descriptor that was
// blocking when os.NewFile saw it has no such side effect, nor does it make
// the supervisor's own poller wake up for each connection.
func hold(l filer) (*socket, error) {
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &socket{file: os.NewFile(uintptr(fd), l.Addr().String()), addr: l.Addr()}, nil
}

func openNothing() (*socket, error) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	return &socket{file: f}, nil
}

// close refuses connections from now on, as far as no child accepts them. The
// path of a unix socket goes with it, unless a newer socket has taken it over.
func (s *socket) close() {
	if s.unixFile != nil {
		path := s.addr.String()
		// While the socket is open its inode number can't be used again.
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, s.unixFile) {
			_ = os.Remove(path)
		}
	}
	s.file.Close()
}
