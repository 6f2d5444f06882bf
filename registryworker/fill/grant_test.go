package fill

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// follower reads a blob as another process does: from the file, as far as it
// was granted, and only what can't be had there through the Reader.
type follower struct {
	*Reader
	b *bench
	// first is called between the first grant and the opening of the file.
	first func()

	file *os.File // opened when something was granted
	left int64    // granted, and not read yet
}

func (f *follower) Read(p []byte) (int, error) {
	for f.left == 0 {
		n, err := f.Grant(1 << 40)
		if errors.Is(err, ErrNotInFile) {
			return f.Reader.Read(p)
		}
		if err != nil {
			return 0, err
		}
		if f.left = n; f.file != nil {
			break
		}
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.ReadAt(p[:min(int64(len(p)), f.left)], f.off.Load()-f.left)
	f.left -= int64(n)
	return n, err
}

func (f *follower) open() error {
	g, err := f.Growing(0, f.Size())
	if f.first != nil {
		f.first()
	}
	if err == nil {
		f.file, err = f.b.store.OpenGrowing(g)
	}
	return err
}

func (f *follower) Close() error {
	if f.file != nil {
		_ = f.file.Close()
	}
	return f.Reader.Close()
}

func (b *bench) follow(t testing.TB, src Source, d digest.Digest) *follower {
	t.Helper()
	f := &follower{Reader: b.open(t, src, d), b: b}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestGrantedBytesAreInTheFile(t *testing.T) {
	for name, opt := range map[string]Options{"one connection": {}, "several": smallOptions} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, opt)
			o := newOrigin(randomBytes(400_000))
			var clients sync.WaitGroup
			for i := range 8 {
				clients.Go(func() {
					f := b.follow(t, o, o.digest)
					from := int64(i * 40_000)
					_, err := f.Seek(from, io.SeekStart)
					assert.NoError(t, err)
					got, err := io.ReadAll(f)
					assert.NoError(t, err)
					assert.Equal(t, o.content[from:], got)
				})
			}
			clients.Wait()
			b.requireStored(t, o.content)
			o.assertOnce(t)
			requireContent(t, b.follow(t, o, o.digest), o.content)
		})
	}
}

// What is granted waits for nothing but the last byte, for the digest.
func TestGrantsFlowBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		more, last := make(chan struct{}), make(chan struct{})
		o.script = []func(*exchange){func(x *exchange) {
			pauseAt(100_000, more)(x)
			gate := x.gate
			pauseAt(199_999, last)(x)
			end := x.gate
			x.gate = func(off int64) <-chan struct{} {
				if off < 199_999 {
					return gate(off)
				}
				return end(off)
			}
		}}
		r := b.open(t, o, o.digest)
		grant := func(limit int64) <-chan int64 {
			granted := make(chan int64, 1)
			go func() {
				n, err := r.Grant(limit)
				assert.NoError(t, err)
				granted <- n
			}()
			synctest.Wait()
			return granted
		}
		require.EqualValues(t, 10, <-grant(10))
		require.EqualValues(t, 99_990, <-grant(1<<40))
		waits := grant(1 << 40)
		require.Empty(t, waits)
		close(more)
		require.EqualValues(t, 99_999, <-waits)
		waits = grant(1 << 40)
		require.Empty(t, waits)
		close(last)
		require.EqualValues(t, 1, <-waits)
		_, err := r.Grant(1)
		require.ErrorIs(t, err, io.EOF)
	})
}

// The bytes that the file can't hold come by themselves, and the end is
// verified with those that were granted.
func TestGrantsOfAStoreThatFails(t *testing.T) {
	for name, wrong := range map[string]bool{"right bytes": false, "wrong bytes": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			breakWriteAt(120_000)(b)
			o := newOrigin(randomBytes(400_000))
			if wrong {
				o.every = func(x *exchange) {
					x.corrupt = func(off int64, p []byte) {
						if off <= 300_000 && 300_000 < off+int64(len(p)) {
							p[300_000-off] ^= 1
						}
					}
				}
			}
			// The file goes when the fill is given up: not before it is open.
			opened := make(chan struct{})
			o.script = []func(*exchange){pauseAt(100_000, opened)}
			f := b.follow(t, o, o.digest)
			f.first = func() { close(opened) }
			got, err := io.ReadAll(f)
			if wrong {
				require.ErrorIs(t, err, ErrWrongDigest)
				require.Less(t, len(got), len(o.content))
			} else {
				require.NoError(t, err)
				require.Equal(t, o.digest, digest.FromBytes(got))
			}
			b.requireNotStored(t, o.digest)
		})
	}
}

func TestNothingIsGrantedWithoutAFile(t *testing.T) {
	b := newBench(t, Options{})
	breakOpen(b)
	o := newOrigin(randomBytes(1000))
	r := b.open(t, o, o.digest)
	_, err := r.Grant(1000)
	require.ErrorIs(t, err, ErrNotInFile)
	_, err = r.Growing(0, 1000)
	require.ErrorIs(t, err, ErrNotInFile)
	requireContent(t, r, o.content)
}

// Who has got something of the first try gets nothing of the second, whose file
// is another.
func TestGrantsOfWrongBytes(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(200_000))
	begun, second := make(chan struct{}), make(chan struct{})
	o.script = []func(*exchange){
		all(flipFirstByte, pauseAt(100_000, begun)),
		func(x *exchange) { x.gate = func(int64) <-chan struct{} { return second } },
	}
	f := b.follow(t, o, o.digest)
	late := b.open(t, o, o.digest)
	before, err := late.Growing(0, 1)
	require.NoError(t, err)
	f.first = func() { close(begun) }
	got, err := io.ReadAll(f)
	require.ErrorIs(t, err, ErrWrongDigest)
	require.Less(t, len(got), len(o.content))
	_, err = f.Grant(1)
	require.ErrorIs(t, err, ErrWrongDigest)
	_, err = b.store.OpenGrowing(before)
	require.ErrorIs(t, err, fs.ErrNotExist)

	close(second)
	requireContent(t, &follower{Reader: late, b: b}, o.content)
	b.requireStored(t, o.content)
}

func TestCloseEndsAGrantThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		release := make(chan struct{})
		o.script = []func(*exchange){pauseAt(100_000, release)}
		r := b.open(t, o, o.digest)
		_, err := r.Seek(150_000, io.SeekStart)
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { _ = r.Close() })
		_, err = r.Grant(1)
		require.ErrorIs(t, err, os.ErrClosed)
		close(release)
		b.wait()
	})
}
