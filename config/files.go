package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unicode/utf8"
)

// maxFileSize is far above what Kubernetes keeps in a secret (1 MiB).
const maxFileSize = 4 << 20

// readFile reads a file that an operator named. The error is made for an
// operator and wraps fs.ErrNotExist when the file is missing.
func readFile(path string) ([]byte, error) {
	// Stat comes first, since opening a FIFO waits for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, a file is needed; a container engine makes a directory when what it should mount is missing on the host", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file, so a reload could not read it again", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("%s is larger than 4 MiB, so it can't be what is meant", path)
	}
	return content, nil
}

// readText reads a file of text. Settings travel to their processes as JSON,
// which would silently change what is not UTF-8, a password for one.
func readText(path string) ([]byte, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s is not UTF-8 text; save it as UTF-8", path)
	}
	return bytes.TrimPrefix(content, []byte("\ufeff")), nil
}

// unreadable says why, without the name of the system call.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &missingError{path}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be read by user %d, group %d, as which the cache runs", path, os.Getuid(), os.Getgid())
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%s can't be read: %w", path, err)
}

// missingError is fs.ErrNotExist in an operator's words.
type missingError struct{ path string }

func (e *missingError) Error() string { return e.path + " does not exist" }
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// checkDirectory refuses a path where something else than a directory is in
// the way. One that is missing is made by the process that needs it.
func (l *loader) checkDirectory(variable, path string) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		l.mistake(variable, "%s is not a directory", path)
	}
}
