package images

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// drop removes a small file that leads nowhere and says whether it is gone. A
// worker may be writing it at the same moment, for a blob that has just come
// back, so it is taken aside first, looked at, and put back if it is wanted
// after all and no newer one has come. One that changed lately is left alone.
func (w *sweeper) drop(path string, wanted func(content []byte) bool) (gone bool, err error) {
	if stays, err := w.stays(path); stays || err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreNotExist(err)
	}
	aside := asideOf(path)
	if err := os.Rename(path, aside); err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreNotExist(err)
	}
	content, err := os.ReadFile(aside)
	if err == nil && !wanted(content) {
		w.swept.Links++
		return true, ignoreNotExist(os.Remove(aside))
	}
	return false, errors.Join(err, putBack(aside, path))
}

// dropLink is drop of a link to d whose path says all that is in it, so that it
// can be written again if the blob turns out to be back. That costs half of
// taking it aside, and there is one for each blob that goes.
func (w *sweeper) dropLink(path string, d digest.Digest) (gone bool, err error) {
	if stays, err := w.stays(path); stays || err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreNotExist(err)
	}
	if err := os.Remove(path); err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreNotExist(err)
	}
	// Who stores the blob from here on links it afterwards.
	if w.here(d) {
		return false, writeFile(path, []byte(d))
	}
	w.swept.Links++
	return true, nil
}

// stays says whether a file changed so lately that it is left alone.
func (w *sweeper) stays(path string) (bool, error) {
	info, err := os.Lstat(path)
	return err == nil && !info.ModTime().Before(w.before), err
}

// asideOf is a name in the same directory that nothing has, and that a sweep
// removes if a kill leaves it.
func asideOf(path string) string {
	return filepath.Join(filepath.Dir(path), tempPrefix+strconv.FormatUint(rand.Uint64(), 36))
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
