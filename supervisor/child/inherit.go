package child

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// inherited returns the file behind an inherited descriptor. Its type is
// checked, since a process that the supervisor did not start may have anything
// there, the Go runtime's own epoll descriptor included.
func inherited(fd int, kind uint32, name string) (*os.File, error) {
	got, err := fileType(fd)
	if err != nil {
		return nil, err
	}
	if got != kind {
		return nil, fmt.Errorf("file descriptor %d is not what the supervisor hands down", fd)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}

func inheritedListener(fd int, name string) (net.Listener, error) {
	f, err := inherited(fd, syscall.S_IFSOCK, name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // FileListener works on a duplicate
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("file descriptor %d: %w", fd, err)
	}
	return l, nil
}

// optionalListener returns nil where the supervisor has put /dev/null.
func optionalListener(fd int, name string) (net.Listener, error) {
	kind, err := fileType(fd)
	if err != nil {
		return nil, err
	}
	if kind == syscall.S_IFCHR {
		return nil, syscall.Close(fd)
	}
	return inheritedListener(fd, name)
}

func fileType(fd int) (uint32, error) {
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return 0, fmt.Errorf("file descriptor %d: %w", fd, err)
	}
	return stat.Mode & syscall.S_IFMT, nil
}
