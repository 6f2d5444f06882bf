package images

import (
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Touch records that a blob was used at t: its access time becomes t unless it
// is later already, and its modification time stays. Mount options such as
// noatime don't matter. It returns fs.ErrNotExist when the blob is not here,
// and fs.ErrPermission when its file belongs to another user, who alone may
// set its times.
func (s *Store) Touch(d digest.Digest, t time.Time) error {
	path := s.BlobPath(d)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if !t.After(accessTime(&st)) {
		return nil
	}
	at, err := unix.TimeToTimespec(t)
	if err != nil {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	times := []unix.Timespec{at, {Nsec: unix.UTIME_OMIT}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

func accessTime(st *unix.Stat_t) time.Time {
	return time.Unix(st.Atim.Unix())
}
