package images

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// Growing names bytes of a blob's file while that is written, so that another
// process can send them as they come. How far they are there, Marks say.
type Growing struct {
	Digest digest.Digest
	// Name is the file's in FillDir(Digest). When the blob is complete, the same
	// file is at BlobPath(Digest).
	Name string
	// Inode tells the file from another that was given its name since.
	Inode uint64
	// Offset is that of the first byte that is meant, Length how many are.
	Offset, Length int64
}

// GrowingFile names bytes of the open file of a fill. The name is good for as
// long as the file stays open: then nobody else is given the inode.
func GrowingFile(f *os.File, d digest.Digest, offset, length int64) (Growing, error) {
	inode, err := inodeOf(f)
	return Growing{d, filepath.Base(f.Name()), inode, offset, length}, err
}

func inodeOf(f *os.File) (uint64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
		return st.Ino, nil
	}
	return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: errors.ErrUnsupported}
}

// String is the form that ParseGrowing reads.
func (g Growing) String() string {
	return fmt.Sprintf("%s %s %d %d %d", g.Digest, g.Name, g.Inode, g.Offset, g.Length)
}

// ParseGrowing reads what String wrote in another process.
func ParseGrowing(s string) (Growing, error) {
	fields := strings.Split(s, " ")
	if len(fields) != 5 {
		return Growing{}, fmt.Errorf("%q does not name a growing file: want digest, name, inode, offset and length", s)
	}
	g := Growing{Name: fields[1]}
	var errs [4]error
	g.Digest, errs[0] = digest.Parse(fields[0])
	g.Inode, errs[1] = strconv.ParseUint(fields[2], 10, 64)
	g.Offset, errs[2] = parsePlace(fields[3])
	g.Length, errs[3] = parsePlace(fields[4])
	if err := errors.Join(errs[:]...); err != nil {
		return Growing{}, fmt.Errorf("%q does not name a growing file: %w", s, err)
	}
	if !fs.ValidPath(g.Name) || g.Name == "." || strings.Contains(g.Name, "/") {
		return Growing{}, fmt.Errorf("%q does not name a growing file: %q is not a name in a directory", s, g.Name)
	}
	return g, nil
}

func parsePlace(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// OpenGrowing opens the file that g names, which may have become the blob by
// now. It returns fs.ErrNotExist when it is gone.
func (s *Store) OpenGrowing(g Growing) (*os.File, error) {
	for _, path := range []string{filepath.Join(s.FillDir(g.Digest), g.Name), s.BlobPath(g.Digest)} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if inode, err := inodeOf(f); err == nil && inode == g.Inode {
			return f, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("open the growing file %s of %s: %w", g.Name, g.Digest, fs.ErrNotExist)
}

// Mark says how the bytes of a Growing go on. A sequence of them adds up to its
// Length; one that ends before has broken off.
type Mark struct {
	// N is how many bytes are next, more than 0.
	N int64
	// Inline says that they follow the mark, because the file won't have them.
	// Else they are in the file. After a mark that is Inline, all are.
	Inline bool
}

var errMark = errors.New("not a mark")

// AppendMark appends the mark as ReadMark reads it: a varint, whose last bit is
// Inline.
func AppendMark(b []byte, m Mark) []byte {
	v := uint64(m.N) << 1
	if m.Inline {
		v |= 1
	}
	return binary.AppendUvarint(b, v)
}

// ReadMark returns io.EOF only when there are no more marks.
func ReadMark(r io.ByteReader) (Mark, error) {
	v, err := binary.ReadUvarint(r)
	if err != nil {
		return Mark{}, err
	}
	m := Mark{N: int64(v >> 1), Inline: v&1 == 1}
	if m.N == 0 {
		return Mark{}, errMark
	}
	return m, nil
}
