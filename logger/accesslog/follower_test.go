package accesslog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// followed is a Follower that runs and what it has read.
type followed struct {
	*Follower
	stop func()

	mu    sync.Mutex
	lines []string
}

// follow runs a Follower that keeps the user of each record, and of any other
// line the line.
func follow(t testing.TB, path string) *followed {
	t.Helper()
	f := &followed{Follower: NewFollower(path, FollowerOptions{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, f.line) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(f.stop)
	return f
}

func (f *followed) line(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, err := Parse(line); err == nil {
		f.lines = append(f.lines, r.User)
		return
	}
	f.lines = append(f.lines, string(line))
}

func (f *followed) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.lines...)
}

// requireLines waits for so many lines and then for them to be the right ones.
func (f *followed) requireLines(t *testing.T, want ...string) {
	t.Helper()
	f.await(t, len(want))
	require.Equal(t, want, f.got())
}

func (f *followed) await(t testing.TB, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(f.got()) >= n }, 30*time.Second, time.Millisecond)
}

func appendTo(t testing.TB, path string, lines ...string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	for _, line := range lines {
		_, err = file.WriteString(line)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
}

func TestFollowThroughRotationUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log/access.log")
	f := follow(t, path)
	a := newWriter(t, path, WriterOptions{MaxSize: 100 << 10, Keep: 1000, FlushEvery: time.Millisecond})
	b := newWriter(t, path, WriterOptions{MaxSize: 100 << 10, Keep: 1000, FlushEvery: time.Millisecond})
	want := logFrom([]*Writer{a, b}, 2000)
	f.await(t, len(want))
	requireSameLines(t, want, f.got())
	assert.Zero(t, f.Gaps())
	assert.FileExists(t, rotated(path, 2))
}

func TestFollowThroughMovesByOthersUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWriter(t, path, WriterOptions{FlushEvery: time.Millisecond})
	f := follow(t, path)
	var want []string
	for round := range 20 {
		var logging sync.WaitGroup
		for i := range 100 {
			want = append(want, fmt.Sprintf("%d-%d", round, i))
		}
		users := slices.Clone(want[len(want)-100:])
		logging.Go(func() {
			for _, user := range users {
				w.Log(record(user))
			}
		})
		// It may be that nothing was there yet to be moved.
		_ = os.Rename(path, fmt.Sprintf("%s-%d", path, round))
		logging.Wait()
		// A file that comes and goes between two looks is never seen: let the
		// follower arrive in the new one before the next move.
		want = append(want, fmt.Sprintf("%d-moved", round))
		w.Log(record(want[len(want)-1]))
		f.await(t, len(want))
	}
	requireSameLines(t, want, f.got())
	assert.Zero(t, f.Gaps())
}

func TestFollowGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "1\n", "2\n")
	f := follow(t, path)
	f.requireLines(t, "1", "2")
	f.stop()

	appendTo(t, path, "3\n")
	require.NoError(t, os.Rename(path, rotated(path, 1)))
	appendTo(t, path, "4\n")
	require.NoError(t, os.Rename(rotated(path, 1), rotated(path, 2)))
	require.NoError(t, os.Rename(path, rotated(path, 1)))
	appendTo(t, path, "5\n")

	f = follow(t, path)
	f.requireLines(t, "3", "4", "5")
	assert.Zero(t, f.Gaps())
}

func TestFollowStartsWithTheOldestWithoutAPlace(t *testing.T) {
	for name, content := range map[string]string{"none": "", "damaged": "{", "negative": `{"inode":1,"offset":-1}`} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			if content != "" {
				appendTo(t, path+".position", content)
			}
			appendTo(t, rotated(path, 10), "1\n")
			appendTo(t, rotated(path, 2), "2\n")
			appendTo(t, path+".2.gz", "other\n")
			appendTo(t, path+".old", "other\n")
			appendTo(t, path, "3\n")
			f := follow(t, path)
			f.requireLines(t, "1", "2", "3")
			assert.Zero(t, f.Gaps())
		})
	}
}

func TestFollowCountsAPlaceThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "1\n")
	f := follow(t, path)
	f.requireLines(t, "1")
	f.stop()

	// Made before the old one goes, so that the inode is another.
	appendTo(t, path+".new", "2\n")
	require.NoError(t, os.Rename(path+".new", path))
	f = follow(t, path)
	f.requireLines(t, "2")
	assert.EqualValues(t, 1, f.Gaps())
}

func TestFollowThroughTruncation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "first\n", "second\n")
	f := follow(t, path)
	f.requireLines(t, "first", "second")
	require.NoError(t, os.Truncate(path, 0))
	appendTo(t, path, "3\n")
	f.requireLines(t, "first", "second", "3")
	assert.EqualValues(t, 1, f.Gaps())
	f.stop()

	t.Run("and growth past the place", func(t *testing.T) {
		require.NoError(t, os.Truncate(path, 0))
		appendTo(t, path, "a long line\n", "4\n")
		f := follow(t, path)
		f.requireLines(t, "a long line", "4")
		assert.EqualValues(t, 1, f.Gaps())
	})
}

func TestFollowWaitsForTheEndOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f := follow(t, path)
	appendTo(t, path, "one\ntw")
	f.requireLines(t, "one")
	appendTo(t, path, "o\n")
	f.requireLines(t, "one", "two")
}

func TestFollowPassesOverWhatIsNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, string(make([]byte, 3*maxLine+5)), "\n", "whole\n")
	f := follow(t, path)
	require.Eventually(t, func() bool { l := f.got(); return len(l) > 0 && l[len(l)-1] == "whole" },
		30*time.Second, time.Millisecond)
	assert.NotZero(t, f.Gaps())
}

func TestFollowThroughALostDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log/access.log")
	w := newWriter(t, path, WriterOptions{FlushEvery: time.Millisecond})
	w.Log(record("before"))
	f := follow(t, path)
	f.requireLines(t, "before")
	require.NoError(t, os.RemoveAll(filepath.Dir(path)))
	w.Log(record("after"))
	f.requireLines(t, "before", "after")
}

func TestAPlaceThatCanNotBeKeptIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	appendTo(t, path, "1\n")
	var report bytes.Buffer
	f := NewFollower(path, FollowerOptions{Position: filepath.Join(dir, "missing/position"), Log: testLog(&report)})
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, f.Run(ctx, func([]byte) { cancel() }))
	assert.Equal(t, 1, bytes.Count(report.Bytes(), []byte{'\n'}), report.String())
	assert.Contains(t, report.String(), "missing/position")
}

func TestWithoutEventsTheLogIsLookedAtByTime(t *testing.T) {
	w := &watcher{tick: time.NewTicker(time.Millisecond)}
	defer w.close()
	assert.True(t, w.wait(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.tick.Stop()
	require.Eventually(t, func() bool { return !w.wait(ctx) }, 10*time.Second, time.Millisecond)
}

func BenchmarkFollow(b *testing.B) {
	path := filepath.Join(b.TempDir(), "access.log")
	r := sample()
	line := appendLine(nil, &r)
	file, err := os.Create(path)
	require.NoError(b, err)
	for range b.N {
		_, err = file.Write(line)
		require.NoError(b, err)
	}
	require.NoError(b, file.Close())
	b.ResetTimer()
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err = NewFollower(path, FollowerOptions{}).Run(ctx, func(line []byte) {
		if _, err := Parse(line); err != nil {
			b.Error(err)
		}
		if n++; n == b.N {
			cancel()
		}
	})
	require.NoError(b, err)
}
