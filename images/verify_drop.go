package images

import (
	"errors"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// dropExactly removes a blob if it is still this file, and says whether it did.
// A worker may be about to give the name to a new file, so the old one is taken
// aside first and looked at: who has it open reads on, and who asks in that
// moment is as well off as afterwards.
func (s *Store) dropExactly(d digest.Digest, file fileID) (dropped bool, err error) {
	path := s.BlobPath(d)
	if same, err := isFile(path, file); err != nil || !same {
		return false, ignoreNotExist(err)
	}
	aside := asideOf(path)
	if err := os.Rename(path, aside); err != nil {
		return false, ignoreNotExist(err)
	}
	if same, err := isFile(aside, file); err != nil || !same {
		return false, errors.Join(err, putBack(aside, path))
	}
	if err := os.Remove(aside); err != nil {
		return false, err
	}
	// Not empty when the blob has landed again.
	_ = os.Remove(s.blobDir(d))
	return true, nil
}

func isFile(path string, file fileID) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return idOf(&st) == file, nil
}
