package images

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// landedPath is a file with one line for each blob that landed, its disk space
// in bytes, and one below 0 for what a command removed. All processes append to
// it; see Growth.
func (s *Store) landedPath() string { return filepath.Join(s.root, "landed") }

// countLanded adds a blob to what landed. It is never a reason to fail: what is
// not counted is found at the next walk.
func (s *Store) countLanded(bytes int64) {
	f, err := os.OpenFile(s.landedPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o664)
	if err != nil {
		return
	}
	_, _ = f.Write(append(strconv.AppendInt(nil, bytes, 10), '\n'))
	_ = f.Close()
}

// CountRemoved tells the one who watches Growth that somebody else has removed
// so many bytes.
func (s *Store) CountRemoved(bytes int64) {
	if bytes <= 0 {
		return
	}
	s.countLanded(-bytes)
	s.giveToOwner(s.landedPath())
}

// giveToOwner is for files that commands write: those may be root's, and the
// store another user's, who goes on with them.
func (s *Store) giveToOwner(path string) {
	var st unix.Stat_t
	if unix.Stat(s.root, &st) == nil && int(st.Uid) != os.Geteuid() {
		_ = os.Lchown(path, int(st.Uid), int(st.Gid))
	}
}

// Growth tells how much landed in a store, through whichever process, without
// a walk over it. It is for one goroutine of one process, as Reset concerns all.
//
// Blobs are counted after they have their name. So what is in no Growth that
// was Reset before a walk began is found by that walk; some may be in both,
// and a blob that replaced itself counts twice.
type Growth struct {
	path   string
	offset int64
	bytes  int64
	shrunk bool
}

// Growth begins with what landed since anybody last Reset it.
func (s *Store) Growth() *Growth { return &Growth{path: s.landedPath()} }

// Reset begins to count anew.
func (g *Growth) Reset() error {
	g.offset, g.bytes, g.shrunk = 0, 0, false
	return ignoreNotExist(os.Remove(g.path))
}

// Shrunk says whether somebody else removed blobs, as far as Bytes has read. A
// walk that ran meanwhile has seen some of that, and Bytes counts it again.
func (g *Growth) Shrunk() bool { return g.shrunk }

// Bytes is the disk space of the blobs that landed, less what CountRemoved was
// told.
func (g *Growth) Bytes() (int64, error) {
	f, err := os.Open(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return g.bytes, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(g.offset, io.SeekStart); err != nil {
		return 0, err
	}
	news, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	news = news[:bytes.LastIndexByte(news, '\n')+1]
	for line := range bytes.Lines(news) {
		// A line that power loss spoilt counts for nothing, or for a blob that
		// is too large, which the next walk corrects.
		if n, err := strconv.ParseInt(string(line[:len(line)-1]), 10, 48); err == nil {
			g.bytes += n
			g.shrunk = g.shrunk || n < 0
		}
	}
	g.offset += int64(len(news))
	return g.bytes, nil
}
