package fill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// crashDirVar tells the test binary, run again, to be the process that is
// killed: it fills the store in this directory with crashContent.
const crashDirVar = "FILL_TEST_CRASH_DIR"

func crashContent() []byte {
	b := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// crashingFill fetches the first half and then sits there until it is killed.
func crashingFill(dir string) {
	b := openBench(&testing.T{}, dir, smallOptions)
	o := newOrigin(crashContent())
	o.every = all(pauseAt(512<<10, nil), func(x *exchange) { x.chunk = 16 << 10 })
	r, err := b.Open(context.Background(), repo, o.digest, o)
	if err == nil {
		_, err = io.CopyN(io.Discard, r, 512<<10)
	}
	fmt.Println("half", err)
	select {}
}

func TestFillSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirVar+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "half <nil>\n", line)

	// The other process has the lock: this one fills a place of its own.
	content := crashContent()
	o := newOrigin(content)
	b := openBench(t, dir, smallOptions)
	stalled := make(chan struct{})
	o.every = func(x *exchange) { x.gate = func(int64) <-chan struct{} { return stalled } }
	r := b.open(t, o, o.digest)
	require.Contains(t, b.fillFiles(t, o.digest), "data.1")
	require.ErrorIs(t, b.Close(contextGone()), context.Canceled)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrClosed)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	b = openBench(t, dir, smallOptions)
	o = newOrigin(content)
	requireContent(t, b.open(t, o, o.digest), content)
	b.requireStored(t, content)
	require.NoError(t, b.Close(t.Context()))
	fetched := o.sentBytes(t)
	// The state is a segment old at most, for each connection.
	assert.LessOrEqual(t, fetched, 512<<10+4*16<<10)
	assert.GreaterOrEqual(t, fetched, 512<<10)
	assert.Equal(t, 1, count(t, b.metrics.resumed))
}

// stopMidway fills until n bytes are there, and stops.
func stopMidway(t *testing.T, dir string, opt Options, content []byte, n int64) {
	t.Helper()
	b := openBench(t, dir, opt)
	o := newOrigin(content)
	o.every = all(pauseAt(n, nil), func(x *exchange) { x.chunk = 1000 })
	r := b.open(t, o, o.digest)
	_, err := io.CopyN(io.Discard, r, n)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	err = b.Close(contextGone())
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "1 fills were stopped")
	require.ElementsMatch(t, []string{"data", "state.json"}, b.fillFiles(t, o.digest))
}

func TestNextProcessGoesOn(t *testing.T) {
	for name, opt := range map[string]Options{"one connection": {}, "several": smallOptions} {
		t.Run(name, func(t *testing.T) {
			dir, content := t.TempDir(), randomBytes(500_000)
			stopMidway(t, dir, opt, content, 100_000)
			stopMidway(t, dir, opt, content, 200_000)
			b := openBench(t, dir, opt)
			o := newOrigin(content)
			requireContent(t, b.open(t, o, o.digest), content)
			b.requireStored(t, content)
			require.NoError(t, b.Close(t.Context()))
			require.LessOrEqual(t, o.sentBytes(t), 300_000)
			require.Zero(t, slices.Max(o.sent[:200_000]), "bytes were fetched again")
		})
	}
}

func TestDamagedPartialIsFetchedAgain(t *testing.T) {
	damage := map[string]func(t *testing.T, data, state string){
		"data": func(t *testing.T, data, _ string) {
			f, err := os.OpenFile(data, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("power loss"), 50_000)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
		"data short": func(t *testing.T, data, _ string) { require.NoError(t, os.Truncate(data, 10)) },
		"data gone":  func(t *testing.T, data, _ string) { require.NoError(t, os.Remove(data)) },
		"state torn": func(t *testing.T, _, state string) { require.NoError(t, os.Truncate(state, 10)) },
		"state gone": func(t *testing.T, _, state string) { require.NoError(t, os.Remove(state)) },
		"state of nonsense": func(t *testing.T, _, state string) {
			require.NoError(t, os.WriteFile(state, []byte(`{"size":5,"have":[[3,900]]}`), 0o600))
		},
		"another size": func(t *testing.T, _, state string) {
			require.NoError(t, os.WriteFile(state, []byte(`{"size":200001,"have":[[0,90000]]}`), 0o600))
		},
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			dir, content := t.TempDir(), randomBytes(200_000)
			stopMidway(t, dir, Options{}, content, 100_000)
			b := newBenchIn(t, dir, Options{})
			o := newOrigin(content)
			fills := b.store.FillDir(o.digest)
			spoil(t, filepath.Join(fills, "data"), filepath.Join(fills, "state.json"))

			// Readers of damaged bytes fail; the next gets what is right.
			r := b.open(t, o, o.digest)
			if _, err := io.ReadAll(r); err != nil {
				require.ErrorIs(t, err, ErrWrongDigest)
				r = b.open(t, o, o.digest)
				requireContent(t, r, content)
			}
			b.requireStored(t, content)
			assert.Equal(t, 0, count(t, b.metrics.wrongDigests), "the upstream is not to blame")
		})
	}
}

// What is damaged and can't be removed either is not tried for ever.
func TestDamagedPartialThatStays(t *testing.T) {
	dir, content := t.TempDir(), randomBytes(200_000)
	stopMidway(t, dir, Options{}, content, 100_000)
	b := newBenchIn(t, dir, Options{})
	o := newOrigin(content)
	data := filepath.Join(b.store.FillDir(o.digest), "data")
	state, err := os.ReadFile(filepath.Join(b.store.FillDir(o.digest), "state.json"))
	require.NoError(t, err)
	var opened atomic.Int64
	open := b.files.open
	b.files.open = func(path string) (*os.File, error) {
		opened.Add(1)
		for path, left := range map[string][]byte{data: make([]byte, 100_000), filepath.Join(filepath.Dir(data), "state.json"): state} {
			if err := os.WriteFile(path, left, 0o600); err != nil {
				return nil, err
			}
		}
		return open(path)
	}
	r, err := b.Open(t.Context(), repo, o.digest, o)
	if err == nil { // else it was over before we looked
		_, err = io.ReadAll(r)
		require.NoError(t, r.Close())
	}
	require.ErrorIs(t, err, ErrWrongDigest)
	b.wait()
	assert.EqualValues(t, 4, opened.Load())
}

// complete leaves a fill that needs nothing but its commit.
func complete(t *testing.T, dir string, content []byte) {
	t.Helper()
	b := openBench(t, dir, Options{})
	b.files.commit = func(*os.File, digest.Digest) error { return errors.New("no space left on device") }
	o := newOrigin(content)
	requireContent(t, b.open(t, o, o.digest), content)
	b.requireNotStored(t, o.digest)
	require.Error(t, b.Degraded())
	require.NoError(t, b.Close(t.Context()))
}

func TestCompletePartialNeedsPermissionOnly(t *testing.T) {
	dir, content := t.TempDir(), randomBytes(200_000)
	complete(t, dir, content)
	b := newBenchIn(t, dir, Options{})
	o := newOrigin(content)
	o.stat = func() (int64, error) { return 0, &upstream.Error{Kind: upstream.Denied} }
	_, err := b.Open(t.Context(), repo, o.digest, statOrigin{o})
	require.Equal(t, upstream.Denied, upstream.KindOf(err))
	b.requireNotStored(t, o.digest)

	o.stat = nil
	r := b.open(t, statOrigin{o}, o.digest)
	requireContent(t, r, content)
	b.requireStored(t, content)
	require.Empty(t, o.asked())
}

// Two processes at the same blob get in nobody's way.
func TestTwoEngines(t *testing.T) {
	dir, content := t.TempDir(), randomBytes(300_000)
	a, b := newBenchIn(t, dir, smallOptions), newBenchIn(t, dir, smallOptions)
	first, second := newOrigin(content), newOrigin(content)
	gate := make(chan struct{})
	first.every = func(x *exchange) { x.gate = func(int64) <-chan struct{} { return gate } }
	r := a.open(t, first, first.digest)
	requireContent(t, b.open(t, second, second.digest), content)
	b.wait()
	_, err := b.store.StatBlob(second.digest)
	require.NoError(t, err)
	close(gate)
	requireContent(t, r, content)
	a.requireStored(t, content)
	second.assertOnce(t)
	first.assertOnce(t)
}

func TestOtherProcessStoresTheBlobMeanwhile(t *testing.T) {
	dir, content := t.TempDir(), randomBytes(100_000)
	a, b := newBenchIn(t, dir, Options{}), newBenchIn(t, dir, Options{})
	o := newOrigin(content)
	open := a.files.open
	a.files.open = func(path string) (*os.File, error) {
		requireContent(t, b.open(t, newOrigin(content), o.digest), content)
		b.wait()
		return open(path)
	}
	requireContent(t, a.open(t, o, o.digest), content)
	a.requireStored(t, content)
	require.Empty(t, o.asked())
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"size":200001,"have":[[0,90000],[100000,200001]]}`))
	f.Add([]byte(`{"size":-1,"have":[[5,3]]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "state.json")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		const length = 1000
		size, have := (&partial{slot: slot{state: path}}).readState(length)
		if len(have) == 0 {
			require.EqualValues(t, -1, size)
		}
		end := int64(-1)
		for _, h := range have {
			require.Less(t, end, h.from)
			require.Less(t, h.from, h.to)
			end = h.to
		}
		require.LessOrEqual(t, end, max(min(size, length), -1))
	})
}
