package fill

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/registryworker/upstream"
)

// Ways in which a store fails. atWrite's happens with the n-th byte.
func breakOpen(b *bench) {
	b.files.open = func(string) (*os.File, error) { return nil, syscall.EROFS }
}

// breakNames is a file system that knows no file by its name again.
func breakNames(b *bench) {
	inner := b.files.open
	b.files.open = func(path string) (*os.File, error) {
		f, err := inner(path)
		_ = os.Remove(path)
		return f, err
	}
}

func breakAllocate(b *bench) {
	b.files.allocate = func(*os.File, int64) error { return syscall.ENOSPC }
}

func breakWriteAt(limit int64) func(b *bench) {
	return func(b *bench) {
		inner := b.files.writeAt
		b.files.writeAt = func(f *os.File, p []byte, off int64) (int, error) {
			if off+int64(len(p)) > limit {
				return 0, syscall.ENOSPC
			}
			return inner(f, p, off)
		}
	}
}

func breakCommit(b *bench) {
	b.files.commit = func(*os.File, digest.Digest) error { return syscall.ENOSPC }
}

func TestStoreThatFailsFailsNoPull(t *testing.T) {
	tests := map[string]struct {
		breakIt func(*bench)
		direct  bool
	}{
		"read-only":      {breakOpen, true},
		"no names":       {breakNames, true},
		"too small":      {breakAllocate, true},
		"full at byte 0": {breakWriteAt(0), true},
		"full midway":    {breakWriteAt(120_000), true},
		"commit":         {breakCommit, false},
	}
	for name, test := range tests {
		for shape, opt := range map[string]Options{"one connection": {}, "several": smallOptions} {
			t.Run(name+", "+shape, func(t *testing.T) {
				b := newBench(t, opt)
				test.breakIt(b)
				o := newOrigin(randomBytes(400_000))
				var clients sync.WaitGroup
				var direct atomic.Int64
				for range 8 {
					clients.Go(func() {
						r, err := b.Open(t.Context(), repo, o.digest, o)
						if !assert.NoError(t, err) {
							return
						}
						assert.EqualValues(t, len(o.content), r.Size())
						got, err := io.ReadAll(r)
						assert.NoError(t, err)
						assert.Equal(t, o.digest, digest.FromBytes(got))
						if !r.Stored() {
							direct.Add(1)
						}
						assert.NoError(t, r.Close())
					})
				}
				clients.Wait()
				b.requireNotStored(t, o.digest)
				assert.Equal(t, test.direct, direct.Load() > 0)
				assert.EqualValues(t, direct.Load(), count(t, b.metrics.direct))
				assert.Positive(t, count(t, b.metrics.storeErrors))
				assert.Error(t, b.Degraded())
				assert.Equal(t, 1, strings.Count(b.log.String(), "the store can't be written"))
				assert.Empty(t, b.direct, "slots of direct reads")
				if test.direct {
					assert.NoDirExists(t, b.store.FillDir(o.digest))
				}
			})
		}
	}
}

func TestStoreRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.files.allocate = func(*os.File, int64) error { return syscall.ENOSPC }
		o := newOrigin(randomBytes(1000))
		for range 5 {
			requireContent(t, b.open(t, o, o.digest), o.content)
			b.wait()
		}
		require.ErrorIs(t, b.Degraded(), syscall.ENOSPC)
		warnings := func() int { return strings.Count(b.log.String(), `"level":"warn"`) }
		require.Equal(t, 1, warnings())
		time.Sleep(warnEvery)
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.wait()
		require.Equal(t, 2, warnings())
		require.Contains(t, b.log.String(), `"more_since_last_warning":4`)
		require.Equal(t, 6, count(t, b.metrics.storeErrors))

		time.Sleep(degradedFor + time.Second)
		require.NoError(t, b.Degraded(), "nothing was tried since")
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.wait()
		require.Error(t, b.Degraded())

		b.files.allocate = allocate
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
		require.NoError(t, b.Degraded())
	})
}

// A reader that had bytes from the file goes on where they end, and no byte is
// asked for twice for it.
func TestReaderGoesOnDirect(t *testing.T) {
	b := newBench(t, Options{})
	breakWriteAt(100_000)(b)
	o := newOrigin(randomBytes(200_000))
	o.every = func(x *exchange) { x.chunk = 1000 }
	r := b.open(t, o, o.digest)
	requireContent(t, r, o.content)
	b.wait()
	require.False(t, r.Stored())
	asked := o.asked()
	require.Len(t, asked, 2)
	require.Equal(t, span{100_000, 200_000}, asked[1])
}

func TestDirectReaderSeeks(t *testing.T) {
	b := newBench(t, Options{})
	breakOpen(b)
	o := newOrigin(randomBytes(200_000))
	r := b.open(t, o, o.digest)
	_, err := r.Seek(150_000, io.SeekStart)
	require.NoError(t, err)
	requireContent(t, r, o.content[150_000:])
	_, err = r.Seek(0, io.SeekStart)
	require.NoError(t, err)
	requireContent(t, r, o.content)
}

func TestDirectReadSurvivesFaults(t *testing.T) {
	tests := map[string][]func(*exchange){
		"drop":           {dropAt(70_000)},
		"stall":          {stallAt(70_000)},
		"short":          {shortAt(70_000)},
		"5xx":            {failWith(upstream.Unavailable, 0), dropAt(70_000), failWith(upstream.Unavailable, 0)},
		"ranges ignored": {dropAt(70_000), noRanges},
		"ranges choke":   {dropAt(70_000), failWith(upstream.Invalid, 0)},
		"another size":   {dropAt(70_000), func(x *exchange) { x.size = 5 }},
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Options{})
				breakOpen(b)
				o := newOrigin(randomBytes(200_000))
				o.script = script
				requireContent(t, b.open(t, o, o.digest), o.content)
				assert.Empty(t, b.direct)
			})
		})
	}
}

func TestDirectReadGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{MaxTries: 3})
		breakOpen(b)
		o := newOrigin(randomBytes(200_000))
		o.script = []func(*exchange){dropAt(70_000)}
		o.every = failWith(upstream.Unavailable, 0)
		got, err := io.ReadAll(b.open(t, o, o.digest))
		require.Equal(t, upstream.Unavailable, upstream.KindOf(err))
		require.NotErrorIs(t, err, io.EOF)
		require.Len(t, got, 70_000)
	})
}

func TestDirectRefusal(t *testing.T) {
	b := newBench(t, Options{})
	breakOpen(b)
	o := newOrigin(randomBytes(1000))
	o.every = failWith(upstream.Denied, 0)
	_, err := b.Open(t.Context(), repo, o.digest, o)
	require.Equal(t, upstream.Denied, upstream.KindOf(err))
	require.Empty(t, b.direct)
}

func TestDirectWrongBytes(t *testing.T) {
	for name, breakIt := range map[string]func(*bench){
		"from the start": breakOpen, "midway": breakWriteAt(100_000),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			breakIt(b)
			o := newOrigin(randomBytes(200_000))
			o.every = all(flipFirstByte, func(x *exchange) { x.chunk = 1000 })
			r := b.open(t, o, o.digest)
			got, err := io.ReadAll(r)
			require.ErrorIs(t, err, ErrWrongDigest)
			require.Less(t, len(got), len(o.content))
			_, err = r.Read(make([]byte, 10))
			require.ErrorIs(t, err, ErrWrongDigest, "there is no going round it")
			require.Equal(t, 1, count(t, b.metrics.wrongDigests))
		})
	}
}

func TestDirectUnknownSize(t *testing.T) {
	b := newBench(t, Options{})
	breakOpen(b)
	o := newOrigin(randomBytes(1000))
	o.every = func(x *exchange) { x.size = -1 }
	_, err := b.Open(t.Context(), repo, o.digest, o)
	require.ErrorIs(t, err, errNoSize)
	require.Empty(t, b.direct)
	r := b.open(t, statOrigin{o}, o.digest)
	requireContent(t, r, o.content)

	o.stat = func() (int64, error) { return -1, nil }
	_, err = b.Open(t.Context(), repo, o.digest, statOrigin{o})
	require.ErrorIs(t, err, errNoSize)
	require.Empty(t, b.direct)
}

// More readers than DirectReads wait for their turn, and for no longer than
// they want to.
func TestDirectReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{DirectReads: 2})
		breakOpen(b)
		o := newOrigin(randomBytes(1000))
		first, second := b.open(t, o, o.digest), b.open(t, o, o.digest)
		third := make(chan *Reader)
		go func() {
			r, err := b.Open(t.Context(), repo, o.digest, o)
			assert.NoError(t, err)
			third <- r
		}()
		synctest.Wait()
		require.Len(t, o.asked(), 2)
		require.NoError(t, first.Close())
		r := <-third
		requireContent(t, r, o.content)
		requireContent(t, second, o.content)
		require.NoError(t, r.Close())
	})
}

func TestBlobThatCantBeReadIsPassedOn(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(1000))
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)
	r := b.open(t, o, o.digest)
	require.NoError(t, os.Truncate(b.store.BlobPath(o.digest), 0))
	requireContent(t, r, o.content)
	require.False(t, r.Stored())
}

// What is in the place of the blob and can't be opened, as a file of another
// user's, is replaced.
func TestBlobThatCantBeOpenedIsFetchedAgain(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(1000))
	path := b.store.BlobPath(o.digest)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0))
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)
	require.Positive(t, count(t, b.metrics.storeErrors))
	require.NoError(t, b.Degraded())
}

// A link that can't be written costs the next pull a question, no more.
func TestLinkFails(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(1000))
	require.NoError(t, os.WriteFile(b.dir+"/docker/registry/v2/repositories/quay.io", nil, 0o600))
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.wait()
	require.Error(t, b.Degraded())
	_, err := b.store.StatBlob(o.digest)
	require.NoError(t, err)
}

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	old, recent, running := randomBytes(200_000), randomBytes(200_001), newOrigin(randomBytes(200_002))
	stopMidway(t, dir, Options{}, old, 100_000)
	stopMidway(t, dir, Options{}, recent, 100_000)
	b := newBenchIn(t, dir, Options{})
	running.every = pauseAt(100_000, nil)
	_, err := io.CopyN(io.Discard, b.open(t, running, running.digest), 100_000)
	require.NoError(t, err)

	age := func(d digest.Digest, by time.Duration) {
		for _, name := range b.fillFiles(t, d) {
			at := time.Now().Add(-by)
			require.NoError(t, os.Chtimes(b.store.FillDir(d)+"/"+name, at, at))
		}
	}
	age(digest.FromBytes(old), 25*time.Hour)
	age(running.digest, 25*time.Hour)
	stray := b.store.FillDir(digest.FromString("stray"))
	require.NoError(t, os.MkdirAll(stray, 0o700))
	require.NoError(t, os.WriteFile(stray+"/.tmp-1234", nil, 0o600))
	age(digest.FromString("stray"), 25*time.Hour)

	require.NoError(t, b.Purge(time.Now()))
	assert.NoDirExists(t, b.store.FillDir(digest.FromBytes(old)))
	assert.DirExists(t, b.store.FillDir(digest.FromBytes(recent)))
	assert.DirExists(t, b.store.FillDir(running.digest))

	// In time the engine sees to it by itself.
	require.NoError(t, b.Purge(time.Now().Add(25*time.Hour)))
	assert.NoDirExists(t, b.store.FillDir(digest.FromBytes(recent)))
	assert.DirExists(t, b.store.FillDir(running.digest), "it is locked")
	left, err := b.store.Fills()
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{running.digest}, left)
	require.Error(t, b.Close(contextGone()))
}

func TestEnginePurgesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		store, err := images.Open(dir)
		require.NoError(t, err)
		d := digest.FromString("x")
		require.NoError(t, os.MkdirAll(store.FillDir(d), 0o700))
		require.NoError(t, os.WriteFile(store.FillDir(d)+"/data", bytes.Repeat([]byte("x"), 100), 0o600))
		now := time.Now() // of the bubble
		require.NoError(t, os.Chtimes(store.FillDir(d)+"/data", now, now))
		b := newBenchIn(t, dir, Options{})
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		require.DirExists(t, store.FillDir(d))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.NoDirExists(t, store.FillDir(d))
		require.Equal(t, 1, count(t, b.metrics.purged))
	})
}
