package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockRunDir makes dir and takes it for this process; the lock lasts until the
// returned file is closed. Sockets that an earlier supervisor left behind are
// removed.
func lockRunDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("RUNDIR: %w; set RUNDIR to a directory that can be written", err)
	}
	path := filepath.Join(dir, "supervisor.lock")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("RUNDIR: %w; set RUNDIR to a directory that can be written", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("RUNDIR %s is in use by a running registry-cache%s; stop that one, or give this one a RUNDIR of its own", dir, holder(path))
		}
		return nil, fmt.Errorf("RUNDIR: locking %s: %w", path, err)
	}
	if err := removeStaleSockets(dir); err != nil {
		lock.Close()
		return nil, fmt.Errorf("RUNDIR: %w", err)
	}
	// The number is for people only; a failed write loses nothing else.
	_ = lock.Truncate(0)
	_, _ = fmt.Fprintf(lock, "%d\n", os.Getpid())
	return lock, nil
}

// holder names the process that holds the lock, as far as it said so.
func holder(lock string) string {
	pid, err := os.ReadFile(lock)
	if err != nil || len(pid) == 0 {
		return ""
	}
	return " (pid " + strings.TrimSpace(string(pid)) + ")"
}

func removeStaleSockets(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSocket == 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
