package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNoStore says that a directory holds none.
var ErrNoStore = errors.New("there is no store")

// Writable says why this process can't remove anything from the store, or nil.
// It returns ErrNoStore where there is nothing at all, as with a mistake in the
// path.
func (s *Store) Writable() error {
	blobs := filepath.Join(s.root, "blobs")
	err := unix.Faccessat(unix.AT_FDCWD, blobs, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	var st unix.Stat_t
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist", ErrNoStore, blobs)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("nothing can be removed: %s is on a read-only file system", blobs)
	case errors.Is(err, unix.EACCES) && unix.Stat(blobs, &st) == nil:
		owner := userText(int(st.Uid))
		return fmt.Errorf("nothing can be removed: %s belongs to %s, and this is %s; run it as %s",
			blobs, owner, userText(os.Geteuid()), owner)
	}
	return &fs.PathError{Op: "access", Path: blobs, Err: err}
}

// userText is a user's name and id, or the id alone of one without a name.
func userText(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("user %s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}
