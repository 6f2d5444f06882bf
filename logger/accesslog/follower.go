package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// FollowerOptions may be left empty.
type FollowerOptions struct {
	// Position is the file that keeps the place over a restart; empty is
	// the log's name with .position.
	Position string
	// From, when it can still be found in the log, is where to begin, whatever
	// Position says: the last place that a reader was told by At and kept
	// together with what it made of the lines up to there.
	From Position
	// At is told the place once all lines before it, and none after it, were
	// handled: after each piece that was read, once a second when there is
	// nothing to read, and before Run returns. It runs in Run's goroutine.
	At func(Position)
	// Log takes reports of a log that can't be read or watched.
	Log zerolog.Logger
}

// Follower reads an access log line by line while it grows. It follows the
// file itself through rotation and goes on with the next when that one is read
// to its end; it notices a log that was truncated, removed, or moved away
// by others, and takes up after a restart where it was.
//
// Lines come at least once: after a kill, those of the last second come again,
// or exactly once to a reader that keeps its place itself, see At. A stretch
// that can't be found any more is passed over and counted. Use NewFollower.
type Follower struct {
	path string
	opt  FollowerOptions
	gaps atomic.Uint64

	file *os.File
	// place is what At is told; its inode and offset are those of file.
	place Position
	// midline says that the place is inside a line too long to be one.
	midline bool
	buf     []byte

	saved      Position
	savedAt    time.Time
	reportedAt time.Time
}

// NewFollower makes a Follower of the log at path, which need not exist yet.
func NewFollower(path string, opt FollowerOptions) *Follower {
	if opt.Position == "" {
		opt.Position = path + ".position"
	}
	return &Follower{path: path, opt: opt, buf: make([]byte, maxLine)}
}

// Gaps returns how often the place in the log was lost, so that lines may
// have been missed.
func (f *Follower) Gaps() uint64 { return f.gaps.Load() }

// Run gives each line, without its newline, to handle, until the context
// ends, and returns nil then. The line is valid during the call only. It
// starts with the oldest line that is here and was not read before.
func (f *Follower) Run(ctx context.Context, handle func(line []byte)) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o770); err != nil {
		return fmt.Errorf("follow the access log: %w", err)
	}
	w := watch(f.path, f.opt.Log)
	defer w.close()
	defer f.leave()
	f.saved = loadPosition(f.opt.Position)
	for {
		if err := f.drain(ctx, handle); err != nil {
			f.report(err)
		}
		f.reached()
		if !w.wait(ctx) {
			f.last(ctx, handle)
			return nil
		}
	}
}

// lastLook is how long Run goes on reading after its context ended.
const lastLook = time.Second

// last reads what the writer left when it ended, which is just before this
// ends: the log may be gone with the machine's memory before the next Run.
func (f *Follower) last(ctx context.Context, handle func(line []byte)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	if err := f.drain(ctx, handle); err != nil {
		f.report(err)
	}
	f.reached()
	f.save(0)
}

// drain reads all lines that are there, through any number of rotated files.
func (f *Follower) drain(ctx context.Context, handle func(line []byte)) error {
	for ctx.Err() == nil {
		if f.file == nil {
			if found, err := f.enter(); err != nil || !found {
				return err
			}
		}
		if err := f.read(ctx, handle); err != nil {
			return err
		}
		info, err := os.Stat(f.path)
		if err == nil && inode(info) == f.place.Inode {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The file was rotated or moved. Its last lines may still be on the
		// way: a writer holds the lock from looking whether the file is
		// the right one until it has written. Once the lock could be had, none
		// finds it right any more.
		fd := int(f.file.Fd())
		if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		_ = unix.Flock(fd, unix.LOCK_UN)
		if err := f.read(ctx, handle); err != nil {
			return err
		}
		if found, err := f.next(); err != nil || !found {
			return err
		}
	}
	return nil
}

// read handles all whole lines up to the end of the file.
func (f *Follower) read(ctx context.Context, handle func(line []byte)) error {
	if err := f.check(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n, err := f.file.ReadAt(f.buf, f.place.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		chunk := f.buf[:n]
		end := bytes.LastIndexByte(chunk, '\n')
		if end < 0 {
			if n < len(f.buf) {
				return nil // nothing, or a line whose end is not written yet
			}
			f.gaps.Add(1)
			f.place.Offset += int64(n)
			f.midline = true
			continue
		}
		var last []byte
		for last = range bytes.Lines(chunk[:end+1]) {
			handle(last[:len(last)-1])
		}
		f.place.Offset += int64(end) + 1
		f.place.Last, f.place.Sum = int64(len(last)), crc32.ChecksumIEEE(last)
		f.midline = false
		f.reached()
	}
	return nil
}

// check notices a file that was truncated, also one that has grown past the
// place again, and starts it over.
func (f *Follower) check() error {
	if f.place.Offset == 0 || f.midline {
		return nil
	}
	var before [1]byte
	n, err := f.file.ReadAt(before[:], f.place.Offset-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n == 0 || before[0] != '\n' {
		f.gaps.Add(1)
		f.place = Position{Inode: f.place.Inode}
	}
	return nil
}

// reached tells and keeps the place.
func (f *Follower) reached() {
	if f.opt.At != nil && f.file != nil && !f.midline {
		f.opt.At(f.place)
	}
	f.save(saveEvery)
}

// saveEvery is how often the place is kept while lines come.
const saveEvery = time.Second

// save keeps the place if it changed and was not kept for so long.
func (f *Follower) save(after time.Duration) {
	p := f.place
	if f.file == nil || f.midline || p == f.saved || time.Since(f.savedAt) < after {
		return
	}
	f.savedAt = time.Now()
	if err := p.save(f.opt.Position); err != nil {
		f.report(err)
		return
	}
	f.saved = p
}

func (f *Follower) report(err error) {
	if time.Since(f.reportedAt) < reportEvery {
		return
	}
	f.reportedAt = time.Now()
	f.opt.Log.Error().Err(err).Str("file", f.path).
		Msg("the access log can't be followed as it should be; it is tried again")
}
