package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// file is the log on disk. Any number of processes may append to it at once:
// each holds a lock on the file while it looks whether the name still means
// that file, writes whole lines, or rotates. A lock on a file that has
// been rotated away is let go and the name opened anew, so no line lands in
// a file that readers have left.
type file struct {
	path string
	max  int64
	keep int
	f    *os.File
}

// rotated is the name of the n-th last file; 0 is the current one.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

func (l *file) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o770); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o660)
	if err != nil {
		return err
	}
	l.f = f
	return nil
}

func (l *file) close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// write appends whole lines and returns how many of them were lost.
func (l *file) write(lines []byte) (lost int, err error) {
	n, err := l.append(lines)
	if err == nil {
		return 0, nil
	}
	return bytes.Count(lines[n:], []byte{'\n'}), fmt.Errorf("write the access log: %w", err)
}

// maxReopen bounds the tries to find a file that stays where it is.
const maxReopen = 10

func (l *file) append(lines []byte) (int, error) {
	var rotateErr error
	for range maxReopen {
		if l.f == nil {
			if err := l.open(); err != nil {
				return 0, err
			}
		}
		unlock := lock(l.f)
		size, err := l.current()
		if errors.Is(err, errMoved) {
			unlock()
			_ = l.close()
			continue
		}
		if err != nil {
			unlock()
			return 0, err
		}
		if size > 0 && size+int64(len(lines)) > l.max && rotateErr == nil {
			rotateErr = l.rotate()
			unlock()
			if rotateErr == nil {
				_ = l.close()
			}
			continue // a log that can't be rotated grows, which is better than losing lines
		}
		n, err := l.appendLocked(lines, size)
		unlock()
		return n, errors.Join(err, rotateErr)
	}
	return 0, fmt.Errorf("%s was moved away each time it was opened", l.path)
}

var errMoved = errors.New("the file was moved")

// current returns the size of the open file, or errMoved if its name means
// another file by now, or none.
func (l *file) current() (int64, error) {
	named, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errMoved
	}
	if err != nil {
		return 0, err
	}
	open, err := l.f.Stat()
	if err != nil {
		return 0, err
	}
	if !os.SameFile(named, open) {
		return 0, errMoved
	}
	return open.Size(), nil
}

// appendLocked ends a line first that a full disk or a killed process left
// unfinished, so that only that line is damaged.
func (l *file) appendLocked(lines []byte, size int64) (int, error) {
	if size > 0 {
		var last [1]byte
		if _, err := l.f.ReadAt(last[:], size-1); err == nil && last[0] != '\n' {
			if _, err := l.f.Write([]byte{'\n'}); err != nil {
				return 0, err
			}
		}
	}
	return l.f.Write(lines)
}

// rotate renames the files up to the first free number, so that a rotation
// that was killed halfway costs no file when it is done again.
func (l *file) rotate() error {
	free := 1
	for free < l.keep {
		if _, err := os.Lstat(rotated(l.path, free)); errors.Is(err, fs.ErrNotExist) {
			break
		}
		free++
	}
	for n := free; n > 0; n-- {
		if err := os.Rename(rotated(l.path, n-1), rotated(l.path, n)); err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return nil
}

// lock waits for the file's lock and returns what releases it. On a file
// system without locks, appending is still whole, only a rotation by two
// processes at once is not.
func lock(f *os.File) (unlock func()) {
	fd := int(f.Fd())
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return func() {}
		}
		return func() { _ = unix.Flock(fd, unix.LOCK_UN) }
	}
}
