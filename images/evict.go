package images

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrUsed is returned for a blob that was used after it was chosen to go.
var ErrUsed = errors.New("the blob was used meanwhile")

// Evict removes a blob unless it was used after since. Who has it open reads
// on; links to it dangle until Sweep, and a pull that needs it fetches it
// again. It returns ErrUsed, or fs.ErrNotExist when the blob is not here.
func (s *Store) Evict(d digest.Digest, since time.Time) error {
	path := s.BlobPath(d)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "evict", Path: path, Err: err}
	}
	if accessTime(&st).After(since) {
		return ErrUsed
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	// Not empty when the blob is landing again; Sweep takes what a kill
	// leaves behind here.
	_ = os.Remove(s.blobDir(d))
	return nil
}
