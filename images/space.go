package images

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is the file system that the store lies on, in bytes.
type Disk struct {
	// Size is what ordinary users can have of it.
	Size int64
	// Free is what they can still have.
	Free int64
}

// Disk asks the file system how much space there is.
func (s *Store) Disk() (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return Disk{}, &fs.PathError{Op: "statfs", Path: s.root, Err: err}
	}
	free := int64(st.Bavail) * st.Frsize
	used := int64(st.Blocks-st.Bfree) * st.Frsize
	return Disk{Size: used + free, Free: free}, nil
}

// FillBytes returns the disk space that blobs on their way in take.
func (s *Store) FillBytes(ctx context.Context) (int64, error) {
	var total int64
	err := filepath.WalkDir(filepath.Join(s.root, "fills"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var st unix.Stat_t
		if err == nil && !entry.IsDir() {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // finished meanwhile
		}
		total += allocated(&st)
		return err
	})
	return total, err
}
