package images_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func verify(t testing.TB, s *images.Store, o images.Verifying) images.Verified {
	t.Helper()
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	found, err := v.Verify(context.Background(), o)
	require.NoError(t, err)
	return found
}

// spoil changes the bytes of a blob in place, as a disk does.
func spoil(t testing.TB, s *images.Store, d digest.Digest, change func(content []byte) []byte) {
	t.Helper()
	path := s.BlobPath(d)
	info, err := os.Stat(path)
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(content), 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()))
}

func flipped(content []byte) []byte {
	content[len(content)/2] ^= 1
	return content
}

func truncated(content []byte) []byte { return content[:len(content)-1] }

func TestVerifyDropsWhatIsBadAndNothingElse(t *testing.T) {
	s, _ := open(t)
	large := strings.Repeat("0123456789abcdef", 150_000) // more than is read at once
	good, flip := commit(t, s, large+"good"), commit(t, s, large+"flip")
	short, empty := commit(t, s, "short"), commit(t, s, "empty")
	loose, nothing := commit(t, s, "loose"), commit(t, s, "")
	for _, d := range []digest.Digest{good, flip, short, empty} {
		require.NoError(t, s.Link(repo, images.Layer, d))
	}
	m, other := putImage(t, s, repo, good, flip, short), putImage(t, s, "quay.io/other", flip, empty)
	require.NoError(t, s.SetTag(repo, "latest", m))
	require.NoError(t, s.SetTag(repo, "v1", m))
	spoil(t, s, flip, flipped)
	spoil(t, s, short, truncated)
	spoil(t, s, empty, func([]byte) []byte { return nil })
	spoil(t, s, loose, func(content []byte) []byte { return append(content, 'x') })

	both := []string{"quay.io/other@" + other.String(), repo + ":latest", repo + ":v1"}
	var told []digest.Digest
	progress := &images.VerifyProgress{}
	found := verify(t, s, images.Verifying{DryRun: true, Progress: progress, Found: func(b images.BadBlob) {
		told = append(told, b.Digest)
	}})
	require.Len(t, told, 4)
	require.EqualValues(t, 8, progress.Blobs.Load())
	require.Equal(t, 8, found.Blobs)
	require.Zero(t, found.Left)
	require.Empty(t, found.Failed)
	require.Zero(t, found.Removed)
	want := map[digest.Digest]images.BadBlob{
		flip:  {Digest: flip, Size: int64(len(large) + 4), Images: both},
		short: {Digest: short, Size: 4, Content: digest.FromString("shor"), Images: both[1:]},
		empty: {Digest: empty, Size: 0, Content: nothing, Images: both[:1]},
		loose: {Digest: loose, Size: 6, Content: digest.FromString("loosex"), Images: []string{}},
	}
	require.Len(t, found.Bad, len(want))
	for _, b := range found.Bad {
		expected := want[b.Digest]
		if b.Digest == flip {
			expected.Content = b.Content
		}
		require.Equal(t, expected, b)
		_, err := s.StatBlob(b.Digest)
		require.NoError(t, err, "a dry run leaves it")
	}

	found = verify(t, s, images.Verifying{})
	require.Len(t, found.Bad, len(want))
	require.Positive(t, found.Removed)
	for _, b := range found.Bad {
		require.True(t, b.Dropped)
		require.NoDirExists(t, filepath.Dir(s.BlobPath(b.Digest)))
	}
	for _, d := range []digest.Digest{good, nothing, m, other} {
		_, err := s.StatBlob(d)
		require.NoError(t, err)
	}
	require.Empty(t, verify(t, s, images.Verifying{}).Bad)
	require.Equal(t, flip, commit(t, s, large+"flip"), "it heals")
	require.Empty(t, verify(t, s, images.Verifying{}).Bad)
}

func TestVerifyNamesTheImageOfABadManifest(t *testing.T) {
	s, _ := open(t)
	m := putImage(t, s, repo)
	require.NoError(t, s.SetTag(repo, "latest", m))
	spoil(t, s, m, flipped)
	found := verify(t, s, images.Verifying{})
	require.Len(t, found.Bad, 1)
	require.Equal(t, []string{repo + ":latest"}, found.Bad[0].Images)
	_, _, err := s.Manifest(repo, m)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestVerifyKnowsAllAlgorithms(t *testing.T) {
	s, _ := open(t)
	for _, d := range []digest.Digest{digest.SHA512.FromString("x"), digest.SHA384.FromString("x"), digest.SHA512.FromString("y")} {
		require.NoError(t, os.MkdirAll(filepath.Dir(s.BlobPath(d)), 0o755))
		require.NoError(t, os.WriteFile(s.BlobPath(d), []byte("x"), 0o600))
	}
	found := verify(t, s, images.Verifying{})
	require.Equal(t, 3, found.Blobs)
	require.Len(t, found.Bad, 1)
	require.Equal(t, digest.SHA512.FromString("y"), found.Bad[0].Digest)
	require.Equal(t, digest.SHA512.FromString("x"), found.Bad[0].Content)
}

func TestVerifyIsNoUse(t *testing.T) {
	s, _ := open(t)
	d := commit(t, s, "x")
	old := time.Now().Add(-100 * time.Hour).Truncate(time.Second)
	setTimes(t, s, d, old, time.Now()) // relatime records the next use
	require.Zero(t, verify(t, s, images.Verifying{}).Used)
	used, _ := times(t, s, d)
	require.True(t, used.Equal(old))
}

func TestVerifyEndsWhenItIsTold(t *testing.T) {
	s, _ := open(t)
	for i := range 10 {
		spoil(t, s, commit(t, s, fmt.Sprint(i)), flipped)
	}
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	found, err := v.Verify(ctx, images.Verifying{Found: func(images.BadBlob) { cancel() }})
	require.NoError(t, err)
	require.NotEmpty(t, found.Bad)
	require.Positive(t, found.Left)
	require.Equal(t, 10, found.Blobs+found.Left)
}

// verifiedStore makes the test binary one that verifies the store it names.
const verifiedStore = "IMAGES_TEST_VERIFY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(verifiedStore); dir != "" {
		s, err := images.Open(dir)
		if err == nil {
			var v *images.Inventory
			if v, err = s.Take(context.Background()); err == nil {
				_, err = v.Verify(context.Background(), images.Verifying{})
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKilledWhileItVerifiesItLeavesWhatIsGood(t *testing.T) {
	s, dir := open(t)
	content := map[digest.Digest]string{}
	var bad []digest.Digest
	for i := range 400 {
		text := fmt.Sprint("blob ", i, strings.Repeat("x", 100))
		d := commit(t, s, text)
		if i%2 == 0 {
			content[d] = text
		} else {
			spoil(t, s, d, flipped)
			bad = append(bad, d)
		}
	}
	left := func() (n int) {
		for _, d := range bad {
			if _, err := os.Stat(s.BlobPath(d)); err == nil {
				n++
			}
		}
		return n
	}
	for range 5 {
		stop := left() - 1 - rand.IntN(20)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), verifiedStore+"="+dir)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return left() <= stop }, 60*time.Second, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		for d, text := range content {
			got, err := os.ReadFile(s.BlobPath(d))
			require.NoError(t, err)
			require.Equal(t, text, string(got))
		}
	}
	verify(t, s, images.Verifying{})
	require.Zero(t, left())
	aside := filepath.Join(filepath.Dir(s.BlobPath(bad[0])), ".tmp-1") // none of the kills may have left one
	require.NoError(t, os.MkdirAll(filepath.Dir(aside), 0o755))
	require.NoError(t, os.WriteFile(aside, nil, 0o600))
	_, err := s.Sweep(context.Background(), images.Sweeping{Before: time.Now().Add(time.Minute)})
	require.NoError(t, err)
	for _, path := range tree(t, dir) {
		require.NotContains(t, path, ".tmp-", "what a kill left aside is swept")
	}
}

// A worker stores blobs again while they are found bad and dropped: whoever
// comes first, there is no bad one in the end, and none is lost that came after.
func TestVerifyBesidePulls(t *testing.T) {
	s, _ := open(t)
	const text = "a blob that comes back"
	for range 200 {
		d := commit(t, s, text)
		spoil(t, s, d, flipped)
		v, err := s.Take(context.Background())
		require.NoError(t, err)
		back := make(chan struct{})
		go func() {
			defer close(back)
			commit(t, s, text)
		}()
		_, err = v.Verify(context.Background(), images.Verifying{})
		<-back
		require.NoError(t, err)
		got, err := os.ReadFile(s.BlobPath(d))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}

func TestLastVerifyIsRemembered(t *testing.T) {
	s, _ := open(t)
	_, err := s.LastVerify()
	require.ErrorIs(t, err, fs.ErrNotExist)
	commit(t, s, "good")
	spoil(t, s, commit(t, s, "bad"), flipped)
	require.NoError(t, s.RememberVerify(verify(t, s, images.Verifying{}), time.Unix(1e9, 5)))
	last, err := s.LastVerify()
	require.NoError(t, err)
	require.Equal(t, images.LastVerify{Ended: time.Unix(1e9, 0).UTC(), Blobs: 2, Bad: 1}, last)
}
