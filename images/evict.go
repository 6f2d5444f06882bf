package images

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"sync"
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
	return s.evictAt(unix.AT_FDCWD, s.blobDir(d), d, since.UnixNano())
}

// evictAt is Evict of the blob in the directory name, which is relative to the
// open directory at.
func (s *Store) evictAt(at int, name string, d digest.Digest, since int64) error {
	failed := func(err error) error { return &fs.PathError{Op: "evict", Path: s.BlobPath(d), Err: err} }
	var st unix.Stat_t
	if err := unix.Fstatat(at, name+"/data", &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return failed(err)
	}
	if st.Atim.Nano() > since {
		return ErrUsed
	}
	if err := unix.Unlinkat(at, name+"/data", 0); err != nil {
		return failed(err)
	}
	// Not empty when the blob is landing again; Sweep takes what a kill
	// leaves behind here.
	_ = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	return nil
}

// Evict removes blobs of the inventory, several at once and in no order,
// except those that were used since it was taken. The answers have the order
// of blobs: nil for what is gone, else as Store.Evict's.
func (v *Inventory) Evict(blobs []int32) []error {
	answers := make([]error, len(blobs))
	order := make([]int32, len(blobs))
	for i := range order {
		order[i] = int32(i)
	}
	// The place of a blob is its place on the disk: each worker has directories
	// of its own, as two in one directory wait for each other.
	slices.SortFunc(order, func(a, b int32) int { return int(blobs[a] - blobs[b]) })
	// More than processors: on a cold store they mostly wait for the disk.
	width := max(4, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for part := range slices.Chunk(order, len(order)/width+1) {
		workers.Go(func() {
			dir := openDir{fd: -1}
			defer dir.close()
			for _, i := range part {
				answers[i] = v.evict(&dir, blobs[i])
			}
		})
	}
	workers.Wait()
	return answers
}

func (v *Inventory) evict(dir *openDir, blob int32) error {
	d := v.Digest(blob)
	path := v.store.blobPrefixDir(d)
	if err := dir.change(path); err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return v.store.evictAt(dir.fd, d.Encoded(), d, v.Blobs[blob].Used)
}

// openDir is the directory that was used last.
type openDir struct {
	fd   int
	path string
}

func (o *openDir) change(path string) (err error) {
	if path == o.path {
		return nil
	}
	o.close()
	for {
		o.fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		o.path = path
	}
	return err
}

func (o *openDir) close() {
	if o.path != "" {
		_ = unix.Close(o.fd)
	}
	o.path = ""
}
