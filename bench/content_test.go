package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	kiB = 1 << 10
	miB = 1 << 20
	giB = 1 << 30
)

// content is the bytes of one blob.
type content struct {
	digest string
	size   int64
	open   func() (io.ReadSeekCloser, error)
	// path is where the bytes lie, "" for those that are made when read.
	path string
}

// scratch holds the files that upstreams serve: in memory where the system has
// such a place, so that no contestant waits for the upstream's disk.
var scratch struct {
	dir  string
	mu   sync.Mutex
	made map[string]content
}

func openScratch() error {
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "rcbench")
	scratch.dir, scratch.made = dir, map[string]content{}
	return err
}

// file is the n-th file of random bytes of that size; it is made once.
func file(b *testing.B, n uint64, size int64) content {
	b.Helper()
	scratch.mu.Lock()
	defer scratch.mu.Unlock()
	path := filepath.Join(scratch.dir, fmt.Sprintf("%d-%d", n, size))
	if c, ok := scratch.made[path]; ok {
		return c
	}
	out, err := os.Create(path)
	require.NoError(b, err)
	hash := sha256.New()
	_, err = io.CopyBuffer(onlyWriter{io.MultiWriter(out, hash)}, io.LimitReader(random(n), size), make([]byte, miB))
	require.NoError(b, err)
	require.NoError(b, out.Close())
	c := content{
		digest: digestOf(hash.Sum(nil)), size: size, path: path,
		open: func() (io.ReadSeekCloser, error) { return os.Open(path) },
	}
	scratch.made[path] = c
	return c
}

func random(seed uint64) io.Reader {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(key)
}

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// small is a blob held in memory.
func small(raw []byte) content {
	sum := sha256.Sum256(raw)
	return content{
		digest: digestOf(sum[:]), size: int64(len(raw)),
		open: func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(raw)}, nil },
	}
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// onlyWriter hides ReadFrom, so that the given buffer is used.
type onlyWriter struct{ io.Writer }

// repeated is a blob that is larger than what should lie in memory: the same
// random block over and over.
func repeated(b *testing.B, size int64) content {
	b.Helper()
	block := make([]byte, 16*miB)
	_, err := io.ReadFull(random(99), block)
	require.NoError(b, err)
	hash := sha256.New()
	_, err = io.CopyBuffer(onlyWriter{hash}, &repeater{block: block, size: size}, make([]byte, miB))
	require.NoError(b, err)
	return content{
		digest: digestOf(hash.Sum(nil)), size: size,
		open: func() (io.ReadSeekCloser, error) {
			return nopCloser{&repeater{block: block, size: size}}, nil
		},
	}
}

type repeater struct {
	block    []byte
	size, at int64
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.size-r.at)], r.block[r.at%int64(len(r.block)):])
	r.at += int64(n)
	return n, nil
}

func (r *repeater) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	r.at = offset
	return offset, nil
}
