package images

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPaceIsKeptByAllReadersTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100)
		start := time.Now()
		done := make(chan struct{})
		for range 4 {
			go func() {
				for range 5 {
					p.wait(context.Background(), 50)
				}
				done <- struct{}{}
			}()
		}
		for range 4 {
			<-done
		}
		require.Equal(t, 9500*time.Millisecond, time.Since(start), "the first half second's worth is read at once")

		time.Sleep(time.Hour)
		p.wait(context.Background(), 1000)
		start = time.Now()
		p.wait(context.Background(), 1)
		require.Equal(t, 10*time.Second, time.Since(start), "an idle hour is not made up for")

		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		p.wait(ctx, 1<<30)
		p.wait(ctx, 1)
		require.Less(t, time.Since(start), 12*time.Second)
		newPace(0).wait(context.Background(), 1<<30)
	})
}

// verifiedBy stores a blob and verifies it with reads as they are given.
func verifiedBy(t *testing.T, pread func(fd int, p []byte, at int64) (int, error)) (*Store, digest.Digest, Verified) {
	t.Helper()
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	d := digest.FromString("content")
	require.NoError(t, os.MkdirAll(s.blobDir(d), 0o755))
	require.NoError(t, os.WriteFile(s.BlobPath(d), []byte("content"), 0o600))
	r, err := newBlobReader(newPace(0))
	require.NoError(t, err)
	defer r.close()
	r.pread = pread
	w := verifier{Verifying: Verifying{Progress: &VerifyProgress{}}, store: s}
	w.verify(context.Background(), r, d, 4096)
	require.EqualValues(t, 4096, w.Progress.Bytes.Load())
	return s, d, w.found
}

func TestVerifyDropsWhatTheDiskCanNotRead(t *testing.T) {
	s, d, found := verifiedBy(t, func(int, []byte, int64) (int, error) { return 0, unix.EIO })
	require.Equal(t, []BadBlob{{Digest: d, Size: 7, Dropped: true, Images: []string{}}}, found.Bad)
	require.NoFileExists(t, s.BlobPath(d))
}

func TestVerifyBelievesNoSingleRead(t *testing.T) {
	for name, once := range map[string]func(p []byte) (int, error){
		"other bytes":    func(p []byte) (int, error) { return copy(p, "cOntent"), nil },
		"an error":       func([]byte) (int, error) { return 0, unix.EIO },
		"an interrupted": func([]byte) (int, error) { return 0, unix.EINTR },
		"an early end":   func([]byte) (int, error) { return 0, nil },
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			s, d, found := verifiedBy(t, func(fd int, p []byte, at int64) (int, error) {
				if reads++; reads == 1 {
					return once(p)
				}
				return unix.Pread(fd, p, at)
			})
			require.FileExists(t, s.BlobPath(d))
			require.Empty(t, found.Bad)
			if name != "an interrupted" {
				require.Len(t, found.Failed, 1)
				require.Contains(t, found.Failed[0].Error, "look at memory and disk")
			}
		})
	}
}

func TestVerifyLeavesWhatItMayNotJudge(t *testing.T) {
	s, d, found := verifiedBy(t, func(int, []byte, int64) (int, error) { return 0, unix.ESTALE })
	require.FileExists(t, s.BlobPath(d))
	require.Empty(t, found.Bad)
	require.Len(t, found.Failed, 1)
	require.Contains(t, found.Failed[0].Error, "stale")
}

// A file system without direct reads answers like this.
func TestVerifyReadsThroughTheCacheWhereItMust(t *testing.T) {
	_, _, found := verifiedBy(t, func(fd int, p []byte, at int64) (int, error) {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_DIRECT != 0 {
			return 0, unix.EINVAL
		}
		return unix.Pread(fd, p, at)
	})
	require.Equal(t, 1, found.Blobs)
	require.Empty(t, found.Failed)
}

func TestDropExactlyGivesBackWhatCameMeanwhile(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	d := digest.FromString("x")
	path := s.BlobPath(d)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("bad"), 0o600))
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	was := idOf(&st)

	require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Second))) // another file by now
	dropped, err := s.dropExactly(d, was)
	require.NoError(t, err)
	require.False(t, dropped)
	require.FileExists(t, path)

	require.NoError(t, unix.Lstat(path, &st))
	dropped, err = s.dropExactly(d, idOf(&st))
	require.NoError(t, err)
	require.True(t, dropped)
	require.NoDirExists(t, filepath.Dir(path))
	dropped, err = s.dropExactly(d, idOf(&st))
	require.NoError(t, err)
	require.False(t, dropped)
}

func TestRestoreUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	var before, after unix.Stat_t
	require.NoError(t, unix.Lstat(path, &before))
	require.NoError(t, os.Chtimes(path, time.Now().Add(time.Hour), time.Time{}))
	fd, err := openAt(path, 0)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.True(t, restoreUse(fd, &before))
	require.NoError(t, unix.Lstat(path, &after))
	require.Equal(t, before.Atim, after.Atim)
	require.True(t, restoreUse(fd, &before))
}
