package images

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// newGrowing makes a file of a fill.
func newGrowing(t *testing.T, s *Store, content string) (*os.File, Growing) {
	t.Helper()
	d := digest.FromString(content)
	require.NoError(t, os.MkdirAll(s.FillDir(d), 0o755))
	f, err := os.Create(filepath.Join(s.FillDir(d), "data.1"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteString(content)
	require.NoError(t, err)
	g, err := GrowingFile(f, d, 2, 3)
	require.NoError(t, err)
	return f, g
}

func TestGrowingFileIsOpenedBeforeAndAfterItsCommit(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	f, g := newGrowing(t, s, "content")
	read := func() string {
		got, err := s.OpenGrowing(g)
		require.NoError(t, err)
		defer func() { _ = got.Close() }()
		b, err := io.ReadAll(got)
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, "content", read())
	require.NoError(t, s.Commit(f, g.Digest))
	require.Equal(t, "content", read())
	require.NoError(t, os.Remove(s.BlobPath(g.Digest)))
	_, err = s.OpenGrowing(g)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A second try takes the place of the first; its bytes may be others.
func TestGrowingFileIsNotTakenForItsSuccessor(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	_, first := newGrowing(t, s, "content")
	require.NoError(t, os.Remove(filepath.Join(s.FillDir(first.Digest), first.Name)))
	_, second := newGrowing(t, s, "content")
	require.NotEqual(t, first.Inode, second.Inode)
	_, err = s.OpenGrowing(first)
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err := s.OpenGrowing(second)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestGrowingFileIsAFile(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = dir.Close() }()
	_, err = GrowingFile(dir, digest.FromString(""), 0, 1)
	require.Error(t, err)
}

func TestGrowingThatIsNone(t *testing.T) {
	d := digest.FromString("x").String()
	_, err := ParseGrowing(d + " data 1 0 10")
	require.NoError(t, err)
	for _, bad := range []string{
		"", d, d + " data 1 0", d + " data 1 0 10 ", d + "  1 0 10", d + " . 1 0 10", d + " .. 1 0 10",
		d + " a/b 1 0 10", d + " /a 1 0 10", d + " data -1 0 10", d + " data 1 -1 10", d + " data 1 0 -10",
		d + " data 1 0 9223372036854775808", "sha256:x data 1 0 10", "../x data 1 0 10",
	} {
		_, err := ParseGrowing(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseGrowing(f *testing.F) {
	f.Add(digest.FromString("x").String() + " data 12 0 7")
	f.Add(digest.FromString("x").String() + " data.12 18446744073709551615 9223372036854775807 1")
	f.Add("sha256:x ../data 1 2 3")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGrowing(s)
		if err != nil {
			return
		}
		require.NoError(t, g.Digest.Validate())
		require.False(t, strings.ContainsAny(g.Name, "/ ") || g.Name == "" || g.Name == "." || g.Name == "..", g.Name)
		require.False(t, g.Offset < 0 || g.Length < 0)
		again, err := ParseGrowing(g.String())
		require.NoError(t, err)
		require.Equal(t, g, again)
	})
}

func FuzzReadMark(f *testing.F) {
	f.Add(AppendMark(AppendMark(nil, Mark{N: 1}), Mark{N: 1 << 40, Inline: true}))
	f.Add([]byte{0})
	f.Add([]byte{1})
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			m, err := ReadMark(r)
			if err != nil {
				if errors.Is(err, io.EOF) {
					_, err := r.ReadByte()
					require.ErrorIs(t, err, io.EOF)
				}
				return
			}
			require.Positive(t, m.N)
			again, err := ReadMark(bytes.NewReader(AppendMark(nil, m)))
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}

func TestMarksThatBreakOff(t *testing.T) {
	whole := AppendMark(nil, Mark{N: 1 << 30})
	for n := range whole {
		_, err := ReadMark(bytes.NewReader(whole[:n]))
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		require.Equal(t, want, err)
	}
}
