package accesslog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newWriter(t testing.TB, path string, opt WriterOptions) *Writer {
	t.Helper()
	w, err := NewWriter(path, opt)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	return w
}

func record(user string) Record {
	r := sample()
	r.User = user
	return r
}

// users returns the users of all lines of the log and its rotated files,
// oldest first.
func users(t testing.TB, path string) []string {
	t.Helper()
	var got []string
	for n := 2000; n >= 0; n-- {
		b, err := os.ReadFile(rotated(path, n))
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		for line := range bytes.Lines(b) {
			r, err := Parse(line)
			require.NoError(t, err, "%s", line)
			got = append(got, r.User)
		}
	}
	return got
}

func logFrom(writers []*Writer, each int) (want []string) {
	var wg sync.WaitGroup
	for g := range 8 {
		for i := range each {
			want = append(want, fmt.Sprintf("%d-%d", g, i))
		}
		wg.Go(func() {
			for i := range each {
				writers[g%len(writers)].Log(record(fmt.Sprintf("%d-%d", g, i)))
			}
		})
	}
	wg.Wait()
	return want
}

// requireSameLines is ElementsMatch in less than quadratic time.
func requireSameLines(t *testing.T, want, got []string) {
	t.Helper()
	slices.Sort(want)
	slices.Sort(got)
	require.Len(t, got, len(want))
	require.True(t, slices.Equal(want, got), "other lines came out than went in")
}

func TestRotationUnderLoadLosesNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made/log/access.log")
	w := newWriter(t, path, WriterOptions{MaxSize: 100 << 10, Keep: 1000})
	want := logFrom([]*Writer{w}, 2000)
	require.NoError(t, w.Close())
	requireSameLines(t, want, users(t, path))
	assert.FileExists(t, rotated(path, 2))
	assert.Zero(t, w.Dropped())
}

func TestTwoProcessesOnOneLogLoseNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	a := newWriter(t, path, WriterOptions{MaxSize: 100 << 10, Keep: 1000})
	b := newWriter(t, path, WriterOptions{MaxSize: 100 << 10, Keep: 1000})
	want := logFrom([]*Writer{a, b}, 2000)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	requireSameLines(t, want, users(t, path))
	assert.FileExists(t, rotated(path, 2))
}

func TestOnlySoManyRotatedFilesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	for i := range 6 {
		w := newWriter(t, path, WriterOptions{MaxSize: 1, Keep: 2})
		w.Log(record(strconv.Itoa(i)))
		require.NoError(t, w.Close())
	}
	assert.Equal(t, []string{"3", "4", "5"}, users(t, path))
	assert.NoFileExists(t, rotated(path, 3))
}

func TestARotationKilledHalfwayCostsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	line := func(user string) []byte { r := record(user); return appendLine(nil, &r) }
	// 2 became 3 and 1 became 2 when the power went.
	require.NoError(t, os.WriteFile(rotated(path, 3), line("1"), 0o600))
	require.NoError(t, os.WriteFile(rotated(path, 2), line("2"), 0o600))
	require.NoError(t, os.WriteFile(path, line("3"), 0o600))
	w := newWriter(t, path, WriterOptions{MaxSize: 1})
	w.Log(record("4"))
	require.NoError(t, w.Close())
	assert.Equal(t, []string{"1", "2", "3", "4"}, users(t, path))
}

func TestARestartAppendsAndEndsATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	whole := record("before")
	require.NoError(t, os.WriteFile(path, append(appendLine(nil, &whole), `{"time":"20`...), 0o600))
	w := newWriter(t, path, WriterOptions{})
	w.Log(record("after"))
	require.NoError(t, w.Close())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, lines, 3)
	assert.Equal(t, `{"time":"20`, lines[1])
	after, err := Parse([]byte(lines[2]))
	require.NoError(t, err)
	assert.Equal(t, "after", after.User)
}

func TestTheFileIsMadeAgainWhenItWasMovedOrRemoved(t *testing.T) {
	for name, vanish := range map[string]func(path string) error{
		"moved":             func(path string) error { return os.Rename(path, path+"-2026-03-04") },
		"removed":           os.Remove,
		"directory removed": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log/access.log")
			w := newWriter(t, path, WriterOptions{FlushEvery: time.Millisecond})
			w.Log(record("before"))
			require.Eventually(t, func() bool { return len(users(t, path)) == 1 }, 10*time.Second, time.Millisecond)
			require.NoError(t, vanish(path))
			w.Log(record("after"))
			require.NoError(t, w.Close())
			assert.Equal(t, []string{"after"}, users(t, path))
		})
	}
}

// A link to /dev/full is a log on a disk without space.
func TestAFullDiskLosesCountsAndReportsOnceAndRecovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.Symlink("/dev/full", path))
	var report bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	w := newWriter(t, path, WriterOptions{FlushEvery: time.Millisecond, Log: testLog(&report), Metrics: reg})
	for n := range uint64(3) {
		w.Log(record("lost"))
		require.Eventually(t, func() bool { return w.Dropped() == n+1 }, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, os.Remove(path))
	w.Log(record("kept"))
	require.NoError(t, w.Close())

	assert.Equal(t, []string{"kept"}, users(t, path))
	assert.Equal(t, 1, strings.Count(report.String(), "\n"), report.String())
	assert.Contains(t, report.String(), "no space left on device")
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	assert.Equal(t, "registry_cache_access_log_dropped_lines_total", families[0].GetName())
	assert.EqualValues(t, 3, families[0].GetMetric()[0].GetCounter().GetValue())
}

func TestNewWriterSaysWhichFileCanNotBeOpened(t *testing.T) {
	_, err := NewWriter(t.TempDir(), WriterOptions{})
	require.ErrorContains(t, err, "is a directory")
	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	_, err = NewWriter(filepath.Join(blocked, "access.log"), WriterOptions{})
	require.ErrorContains(t, err, blocked)
}

// A lock held by somebody else is a disk that takes nothing for a while.
func TestUnderOverloadLinesWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWriter(t, path, WriterOptions{})
	other, err := os.Open(path)
	require.NoError(t, err)
	defer other.Close()
	unlock := lock(other)

	r := record("x")
	n := 2*maxPending/len(appendLine(nil, &r)) + 1000
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for range n {
			w.Log(r)
		}
	}()
	// What was taken by the goroutine that writes, and what is pending.
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.pending) > maxPending-1<<10
	}, 30*time.Second, time.Millisecond)
	unlock()
	<-logged
	require.NoError(t, w.Close())
	assert.Equal(t, n, len(users(t, path))+int(w.Dropped()))
}

func TestADiskThatTakesNothingStopsNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWriter(t, path, WriterOptions{})
	other, err := os.Open(path)
	require.NoError(t, err)
	defer other.Close()
	unlock := lock(other)
	n := 0
	for ; w.Dropped() < 1000; n++ {
		w.Log(record("x"))
	}
	unlock()
	require.NoError(t, w.Close())
	assert.Equal(t, n, len(users(t, path))+int(w.Dropped()))
}

func TestCloseWritesWhatIsPendingAndLaterLinesAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWriter(t, path, WriterOptions{FlushEvery: time.Hour})
	w.Log(record("last"))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	w.Log(record("late"))
	assert.Equal(t, []string{"last"}, users(t, path))
	assert.EqualValues(t, 1, w.Dropped())
}

func BenchmarkLog(b *testing.B) {
	w := newWriter(b, filepath.Join(b.TempDir(), "access.log"), WriterOptions{})
	r := sample()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.Log(r)
		}
	})
	b.ReportMetric(float64(w.Dropped())/float64(b.N), "lost/op")
}
