package images

import (
	"context"
	_ "crypto/sha256" // digest.Algorithm.Hash has those that are linked
	_ "crypto/sha512"
	"errors"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// readSize is how much is read at once: enough for the disk to be busy, and a
// multiple of what any disk calls a block, as direct reads must be.
const readSize = 1 << 20

// blobReader hashes blobs, one after the other.
type blobReader struct {
	pace  *pace
	pread func(fd int, p []byte, offset int64) (n int, err error)
	// buffer begins where a page does, as direct reads want it.
	buffer []byte
}

func newBlobReader(p *pace) (*blobReader, error) {
	buffer, err := unix.Mmap(-1, 0, readSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	return &blobReader{p, unix.Pread, buffer}, os.NewSyscallError("mmap", err)
}

func (r *blobReader) close() { _ = unix.Munmap(r.buffer) }

// blobContent is what was read of a blob.
type blobContent struct {
	content digest.Digest
	size    int64
	// allocated is disk space in bytes.
	allocated int64
	file      fileID
	// used says that reading it changed when it was last used.
	used bool
}

// fileID tells a file from one that took its name later, even if it has got the
// same inode.
type fileID struct {
	dev, inode uint64
	size       int64
	modified   unix.Timespec
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{st.Dev, st.Ino, st.Size, st.Mtim}
}

// read hashes a file, past the page cache where the file system can do that. It
// calls count with the bytes as it goes.
func (r *blobReader) read(ctx context.Context, path string, alg digest.Algorithm, count func(n int64)) (blobContent, error) {
	c, err := r.readWith(ctx, path, alg, unix.O_DIRECT, count)
	if errors.Is(err, unix.EINVAL) {
		// Not on this file system. What is read is let go of again; blobs that
		// were in memory before have to be read again when they are asked for.
		c, err = r.readWith(ctx, path, alg, 0, count)
	}
	return c, err
}

func (r *blobReader) readWith(ctx context.Context, path string, alg digest.Algorithm, direct int, count func(n int64)) (c blobContent, err error) {
	failed := func(err error) (blobContent, error) { return c, &fs.PathError{Op: "read", Path: path, Err: err} }
	fd, err := openAt(path, direct|unix.O_NOATIME)
	noted := errors.Is(err, unix.EPERM) // a file of another user
	if noted {
		fd, err = openAt(path, direct)
	}
	if err != nil {
		return failed(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var before unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return failed(err)
	}
	c.allocated, c.file = allocated(&before), idOf(&before)
	hash := alg.Hash()
	for c.size < before.Size && ctx.Err() == nil {
		r.pace.wait(ctx, int(min(readSize, before.Size-c.size)))
		n, err := r.pread(fd, r.buffer, c.size)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return failed(err)
		}
		if n == 0 {
			break // it was cut off meanwhile
		}
		_, _ = hash.Write(r.buffer[:n])
		c.size += int64(n)
		count(int64(n))
	}
	if direct == 0 {
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	}
	c.content = digest.NewDigest(alg, hash)
	c.used = noted && !restoreUse(fd, &before)
	return c, ctx.Err()
}

func openAt(path string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// restoreUse gives a file the access time back that it had before it was read,
// and says whether it has it.
func restoreUse(fd int, before *unix.Stat_t) bool {
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err == nil && now.Atim == before.Atim {
		return true // the file system does not record every use
	}
	times := []unix.Timespec{before.Atim, {Nsec: unix.UTIME_OMIT}}
	return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH) == nil
}
