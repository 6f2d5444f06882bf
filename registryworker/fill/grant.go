package fill

import (
	"errors"

	"registrycache/images"
)

// ErrNotInFile means that the next bytes don't go through the store: they must
// be read with Read.
var ErrNotInFile = errors.New("the bytes are not in the file")

// Grant is a Read by somebody else. It waits as Read does, moves the offset over
// as many bytes as are in the file from there on, at most limit, and returns how
// many these are. From then on they may be read from the file that Growing
// names, which won't change any more.
func (r *Reader) Grant(limit int64) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	off, err := r.next()
	if err != nil {
		return 0, err
	}
	end, err := r.reach(off)
	if errors.Is(err, errDirect) {
		return 0, ErrNotInFile
	}
	if err != nil {
		r.err = err
		return 0, err
	}
	n := min(limit, end-off)
	r.given(off, n)
	return n, nil
}

// Growing names bytes of the file that was granted from. The name is good until
// Close.
func (r *Reader) Growing(offset, length int64) (images.Growing, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t == nil {
		return images.Growing{}, ErrNotInFile
	}
	return images.GrowingFile(r.t.file, r.digest, offset, length)
}
