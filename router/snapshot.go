package router

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// snapshot is a file with fixed content, for an API that wants a path and
// looks at it again and again: the operator's own file may be half written.
type snapshot struct {
	path    string
	release func() error
}

// newSnapshot makes one in memory, or in the temporary directory where /proc
// does not let a process open its own files (as when it is not dumpable).
func newSnapshot(content string) (*snapshot, error) {
	s, memErr := memorySnapshot(content)
	if memErr == nil {
		return s, nil
	}
	s, err := diskSnapshot(content)
	if err != nil {
		return nil, fmt.Errorf("no place for a private copy: %w", errors.Join(memErr, err))
	}
	return s, nil
}

func memorySnapshot(content string) (*snapshot, error) {
	fd, err := unix.MemfdCreate("snapshot", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "snapshot")
	s := &snapshot{path: fmt.Sprintf("/proc/self/fd/%d", fd), release: f.Close}
	if _, err := io.WriteString(f, content); err != nil {
		s.remove()
		return nil, err
	}
	probe, err := os.Open(s.path)
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, probe.Close()
}

func diskSnapshot(content string) (*snapshot, error) {
	dir, err := os.MkdirTemp("", "registry-cache-")
	if err != nil {
		return nil, err
	}
	s := &snapshot{path: filepath.Join(dir, "snapshot"), release: func() error { return os.RemoveAll(dir) }}
	if err := os.WriteFile(s.path, []byte(content), 0o600); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// remove makes the path invalid. There is nothing to do about a failure.
func (s *snapshot) remove() { _ = s.release() }
