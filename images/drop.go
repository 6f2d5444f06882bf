package images

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// drop removes a small file that leads nowhere and says whether it is gone. A
// worker may be writing it at the same moment, for a blob that has just come
// back, so it is taken aside first, looked at, and put back if it is wanted
// after all and no newer one has come. One that changed lately is left alone.
func (w *sweeper) drop(path string, wanted func(content []byte) bool) (gone bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil || !info.ModTime().Before(w.before) {
		return false, err
	}
	aside, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return false, err
	}
	_ = aside.Close()
	if err := os.Rename(path, aside.Name()); err != nil {
		_ = os.Remove(aside.Name())
		return errors.Is(err, fs.ErrNotExist), ignoreNotExist(err)
	}
	content, err := os.ReadFile(aside.Name())
	if err == nil && !wanted(content) {
		w.swept.Links++
		return true, os.Remove(aside.Name())
	}
	return false, errors.Join(err, putBack(aside.Name(), path))
}

// putBack gives a file its name again unless another has it by now.
func putBack(aside, path string) error {
	err := os.Link(aside, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return os.Remove(aside)
	}
	// A file system without hard links.
	return os.Rename(aside, path)
}
