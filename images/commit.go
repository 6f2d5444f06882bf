package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Commit makes a complete and verified file the blob d: its bytes are on the
// disk before its name is, and its name before Commit returns, so that neither
// kill -9 nor power loss leaves a blob that is short. The file must lie in
// FillDir(d) and may stay open. A blob that is there already is replaced by
// the same bytes. The blob's times say that it landed, and was used, now.
func (s *Store) Commit(f *os.File, d digest.Digest) error {
	if err := f.Chmod(0o664); err != nil {
		return fmt.Errorf("commit %s: %w", d, err)
	}
	// A file that a former process filled is new here all the same.
	now := time.Now()
	if err := os.Chtimes(f.Name(), now, now); err != nil {
		return fmt.Errorf("commit %s: %w", d, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("commit %s: %w", d, err)
	}
	dir := s.blobDir(d)
	for try := 0; ; try++ {
		err := os.MkdirAll(dir, 0o775)
		if err == nil {
			err = os.Rename(f.Name(), filepath.Join(dir, "data"))
		}
		if err == nil {
			break
		}
		// The cleaner may have removed an empty directory in between.
		if !errors.Is(err, os.ErrNotExist) || try == 3 {
			return fmt.Errorf("commit %s: %w", d, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err == nil {
		s.countLanded(allocated(&st))
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("commit %s: %w", d, err)
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems (FUSE among them) can't sync a directory.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
