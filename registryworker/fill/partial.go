package fill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// files are the calls that write to the store, so that a test can make them
// fail.
type files struct {
	open     func(path string) (*os.File, error)
	allocate func(f *os.File, size int64) error
	writeAt  func(f *os.File, p []byte, off int64) (int, error)
	commit   func(f *os.File, d digest.Digest) error
}

// ErrTooLarge means that the store has no room for the blob, even when it is
// the only one.
var ErrTooLarge = errors.New("the blob is larger than the store may be")

func storeFiles(store *images.Store, maxBlob int64) files {
	return files{
		open: func(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o664) },
		allocate: func(f *os.File, size int64) error {
			if maxBlob > 0 && size > maxBlob {
				return fmt.Errorf("%w: %d bytes, and the limit is %d", ErrTooLarge, size, maxBlob)
			}
			return allocate(f, size)
		},
		writeAt: func(f *os.File, p []byte, off int64) (int, error) { return f.WriteAt(p, off) },
		commit:  store.Commit,
	}
}

// allocate reserves the space, so that a disk too small is known before the
// first byte and not after the last that fits. The length stays as it is. What
// a file system can't reserve is left to chance.
func allocate(f *os.File, size int64) error {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE in fallocate(2)
	for size > 0 {
		err := syscall.Fallocate(int(f.Fd()), keepSize, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return nil
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
	return nil
}

// partial is what a fill has on the disk: the file, and beside it the state,
// which says how large the blob is and which of its bytes the file has. The
// state is the only truth about the file: bytes it does not name are fetched
// again. There is no fsync before the commit; what power loss spoils is found
// by its digest.
//
// The file is locked as long as the fill runs. Another process that wants the
// same blob, the worker of another upstream or the successor of this one, finds
// the lock taken and uses the next slot, that is a file of its own: it has its
// own upstream to ask, and waiting for a stranger's would tie them together.
type partial struct {
	file  *os.File
	slot  slot
	write func(f *os.File, p []byte, off int64) (int, error)

	mu sync.Mutex // of the state file
}

// state is the content of a state file.
type state struct {
	Size int64      `json:"size"`
	Have [][2]int64 `json:"have"`
}

// slot is one place for a partial in a FillDir.
type slot struct{ data, state string }

func slotOf(dir string, n int) slot {
	suffix := ""
	if n > 0 {
		suffix = "." + strconv.Itoa(n)
	}
	return slot{
		data:  filepath.Join(dir, "data"+suffix),
		state: filepath.Join(dir, "state"+suffix+".json"),
	}
}

const (
	// maxSlots is more than there are workers.
	maxSlots = 256
	// maxLosses is how often a file may be gone from under us, which others do
	// when they commit or purge it.
	maxLosses = 10
)

// openPartial locks the first free slot of the digest, and makes it when it is
// not there.
func openPartial(store *images.Store, ops files, d digest.Digest) (*partial, error) {
	dir := store.FillDir(d)
	for n, lost := 0, 0; n < maxSlots; {
		s := slotOf(dir, n)
		if err := os.MkdirAll(dir, 0o775); err != nil {
			return nil, err
		}
		f, err := ops.open(s.data)
		if errors.Is(err, fs.ErrNotExist) && lost < maxLosses {
			lost++ // somebody removed the empty directory in between
			continue
		}
		if err != nil {
			_ = os.Remove(dir)
			return nil, err
		}
		switch err := lock(f); {
		case errors.Is(err, syscall.EWOULDBLOCK):
			_ = f.Close()
			n++
			continue
		case err != nil:
			_ = f.Close()
			return nil, &os.PathError{Op: "flock", Path: s.data, Err: err}
		}
		if isAt(f, s.data) {
			return &partial{file: f, slot: s, write: ops.writeAt}, nil
		}
		_ = f.Close() // committed or purged before we had the lock
		if lost++; lost > maxLosses {
			_ = os.Remove(dir)
			return nil, fmt.Errorf("%s is another file each time it is opened", s.data)
		}
	}
	return nil, fmt.Errorf("all %d places for fills of %s are taken", maxSlots, d)
}

// lock takes the lock of the file, or returns EWOULDBLOCK. It goes with the
// file's last descriptor, thus with the process at the latest.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// isAt says whether the open file is still the one that the path names.
func isAt(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}

// load returns what the file holds, and cuts off what it can't use. A state that
// does not fit the file, or none, means that it holds nothing.
func (p *partial) load() (size int64, have spans, err error) {
	info, err := p.file.Stat()
	if err != nil {
		return -1, nil, err
	}
	size, have = p.readState(info.Size())
	if length := max(size, 0); info.Size() > length {
		err = p.file.Truncate(length)
	}
	return size, have, err
}

func (p *partial) readState(length int64) (size int64, have spans) {
	b, err := os.ReadFile(p.slot.state)
	if err != nil {
		return -1, nil
	}
	var st state
	if json.Unmarshal(b, &st) != nil {
		return -1, nil
	}
	for _, h := range st.Have {
		if h[0] < 0 || h[0] >= h[1] || h[1] > min(st.Size, length) {
			return -1, nil
		}
		have = have.add(h[0], h[1])
	}
	if len(have) == 0 {
		return -1, nil
	}
	return st.Size, have
}

// save writes the state. The bytes it names must have been written.
func (p *partial) save(size int64, have spans) error {
	st := state{Size: size, Have: make([][2]int64, len(have))}
	for i, h := range have {
		st.Have[i] = [2]int64{h.from, h.to}
	}
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.slot.state + ".next" // nobody else's: we have the lock
	if err := os.WriteFile(next, b, 0o664); err != nil {
		return err
	}
	return os.Rename(next, p.slot.state)
}

func (p *partial) writeAt(b []byte, off int64) error {
	_, err := p.write(p.file, b, off)
	return err
}

// keep writes the state for the next fill, gives back the space that was
// allocated and not used, and lets go of the lock.
func (p *partial) keep(size int64, have spans) error {
	err := p.save(size, have)
	info, statErr := p.file.Stat()
	if statErr == nil {
		statErr = p.file.Truncate(info.Size())
	}
	return errors.Join(err, statErr, syscall.Flock(int(p.file.Fd()), syscall.LOCK_UN))
}

// remove takes the fill's names away; readers keep the open file.
func (s slot) remove() error {
	err := os.Remove(s.data)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.removeState()
	return err
}

// removeState takes away all but the data, which a commit has moved.
func (s slot) removeState() {
	// None of these need be there, and the directory may hold another slot.
	_ = os.Remove(s.state)
	_ = os.Remove(s.state + ".next")
	_ = os.Remove(filepath.Dir(s.data))
}
