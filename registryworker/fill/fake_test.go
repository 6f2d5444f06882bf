package fill

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/images"
	"registrycache/logger/logtest"
	"registrycache/registryworker/upstream"
)

const repo = "quay.io/podman/hello"

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// origin is an upstream that has one blob. It counts how often each byte leaves
// it, and answers as its script says.
type origin struct {
	content []byte
	digest  digest.Digest
	// script[i] decides about the i-th request, and may be nil or missing.
	script []func(*exchange)
	// every decides about all requests the script has nothing for.
	every func(*exchange)
	stat  func() (int64, error)

	mu       sync.Mutex
	requests []span
	sent     []int
	stats    int
}

// exchange is one request to an origin and its answer, open to change.
type exchange struct {
	ctx        context.Context
	n          int // of the request, from 0
	want       span
	from, to   int64 // of what is sent
	size       int64
	ranged     bool
	err        error                           // instead of an answer
	dropAt     int64                           // offset at which the connection breaks, or -1
	dropErr    error                           // nil ends the body cleanly
	stallAt    int64                           // offset at which nothing comes any more, or -1
	gate       func(off int64) <-chan struct{} // to be waited for before the byte at off is sent
	corrupt    func(off int64, p []byte)
	pauses     []int64 // offsets at which a read ends
	chunk      int
	ignoreDone bool   // the body does not end with the context
	closed     func() // called when the body is closed
}

func newOrigin(content []byte) *origin {
	return &origin{content: content, digest: digest.FromBytes(content), sent: make([]int, len(content))}
}

func (o *origin) OpenBlob(ctx context.Context, offset, end int64) (*upstream.Blob, error) {
	o.mu.Lock()
	n := len(o.requests)
	o.requests = append(o.requests, span{offset, end})
	o.mu.Unlock()
	size := int64(len(o.content))
	x := &exchange{
		ctx: ctx, n: n, want: span{offset, end}, from: offset, to: size, size: size,
		ranged: offset > 0 || end >= 0, dropAt: -1, stallAt: -1, dropErr: errors.New("connection reset by peer"),
	}
	if end >= 0 {
		x.to = min(end, size)
	}
	if offset >= size && x.ranged {
		x.err = &upstream.Error{Upstream: "quay.io", Op: "get blob", Kind: upstream.Unavailable, Status: 416}
	}
	switch {
	case n < len(o.script) && o.script[n] != nil:
		o.script[n](x)
	case o.every != nil:
		o.every(x)
	}
	if x.err != nil {
		return nil, x.err
	}
	return &upstream.Blob{
		Body: &originBody{o: o, x: x, pos: x.from, closed: make(chan struct{})}, Offset: x.from, Size: x.size, Ranged: x.ranged,
	}, nil
}

func (o *origin) asked() []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.requests)
}

// assertOnce fails when a byte of the blob left the origin more or less often
// than once.
func (o *origin) assertOnce(t testing.TB) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, n := range o.sent {
		if n != 1 {
			require.Failf(t, "not sent exactly once", "byte %d of %d was sent %d times", i, len(o.sent), n)
		}
	}
}

// sentBytes returns how many bytes left the origin, and fails when one did so
// twice.
func (o *origin) sentBytes(t testing.TB) int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.LessOrEqual(t, slices.Max(o.sent), 1, "bytes were sent twice")
	total := 0
	for _, n := range o.sent {
		total += n
	}
	return total
}

// statOrigin is an origin that can be asked without a transfer.
type statOrigin struct{ *origin }

func (o statOrigin) StatBlob(context.Context) (int64, error) {
	o.mu.Lock()
	o.stats++
	o.mu.Unlock()
	if o.stat != nil {
		return o.stat()
	}
	return int64(len(o.content)), nil
}

type originBody struct {
	o      *origin
	x      *exchange
	pos    int64
	closed chan struct{}
	once   sync.Once
}

func (b *originBody) Read(p []byte) (int, error) {
	x := b.x
	done := x.ctx.Done()
	if x.ignoreDone {
		done = nil
	}
	if x.stallAt >= 0 && b.pos >= x.stallAt {
		select {
		case <-done:
			return 0, x.ctx.Err()
		case <-b.closed:
			return 0, os.ErrClosed
		}
	}
	if x.dropAt >= 0 && b.pos >= x.dropAt {
		if x.dropErr == nil {
			return 0, io.EOF
		}
		return 0, x.dropErr
	}
	if x.gate != nil {
		select {
		case <-x.gate(b.pos):
		case <-done:
			return 0, x.ctx.Err()
		case <-b.closed:
			return 0, os.ErrClosed
		}
	}
	if err := x.ctx.Err(); err != nil && !x.ignoreDone {
		return 0, err
	}
	to := x.to
	for _, stop := range append(x.pauses, x.dropAt, x.stallAt) {
		if stop > b.pos {
			to = min(to, stop)
		}
	}
	if x.chunk > 0 {
		to = min(to, b.pos+int64(x.chunk))
	}
	if b.pos >= x.to {
		return 0, io.EOF
	}
	n := copy(p, b.o.content[b.pos:to])
	if x.corrupt != nil {
		x.corrupt(b.pos, p[:n])
	}
	b.o.mu.Lock()
	for i := b.pos; i < b.pos+int64(n); i++ {
		b.o.sent[i]++
	}
	b.o.mu.Unlock()
	b.pos += int64(n)
	return n, nil
}

func (b *originBody) Close() error {
	b.once.Do(func() {
		close(b.closed)
		if b.x.closed != nil {
			b.x.closed()
		}
	})
	return nil
}

// Steps of a script.

func dropAt(off int64) func(*exchange)  { return func(x *exchange) { x.dropAt = off } }
func stallAt(off int64) func(*exchange) { return func(x *exchange) { x.stallAt = off } }

func shortAt(off int64) func(*exchange) {
	return func(x *exchange) { x.dropAt, x.dropErr = off, nil }
}

func noRanges(x *exchange) {
	x.from, x.to, x.ranged, x.err = 0, x.size, false, nil
}

func failWith(kind upstream.Kind, after time.Duration) func(*exchange) {
	return func(x *exchange) {
		x.err = &upstream.Error{Upstream: "quay.io", Op: "get blob", Kind: kind, RetryAfter: after}
	}
}

func flipFirstByte(x *exchange) {
	x.corrupt = func(off int64, p []byte) {
		if off == 0 {
			p[0] ^= 1
		}
	}
}

// pauseAt sends the bytes before off at once, and the others when more is closed.
func pauseAt(off int64, more <-chan struct{}) func(*exchange) {
	open := make(chan struct{})
	close(open)
	return func(x *exchange) {
		x.pauses = append(x.pauses, off)
		x.gate = func(at int64) <-chan struct{} {
			if at < off {
				return open
			}
			return more
		}
	}
}

func all(steps ...func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		for _, step := range steps {
			step(x)
		}
	}
}

// bench is an engine over a store of its own.
type bench struct {
	*Engine
	dir   string
	store *images.Store
	log   *logtest.Buffer
}

// smallOptions make a blob of some 100 KiB a large one.
var smallOptions = Options{ParallelFrom: 64 << 10, SegmentSize: 16 << 10, Connections: 4}

func newBench(t testing.TB, opt Options) *bench {
	t.Helper()
	return newBenchIn(t, t.TempDir(), opt)
}

func newBenchIn(t testing.TB, dir string, opt Options) *bench {
	t.Helper()
	b := openBench(t, dir, opt)
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return b
}

func openBench(t testing.TB, dir string, opt Options) *bench {
	t.Helper()
	store, err := images.Open(dir)
	require.NoError(t, err)
	log := &logtest.Buffer{}
	opt.Log = zerolog.New(log)
	opt.Registerer = prometheus.NewRegistry()
	return &bench{Engine: New(store, opt), dir: dir, store: store, log: log}
}

// open opens and closes with the test.
func (b *bench) open(t testing.TB, src Source, d digest.Digest) *Reader {
	t.Helper()
	r, err := b.Open(t.Context(), repo, d, src)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// wait waits for the end of all fills.
func (b *bench) wait() { b.running.Wait() }

// requireStored checks the blob on the disk and its link, and that nothing else
// is left of the fill.
func (b *bench) requireStored(t testing.TB, content []byte, repos ...string) {
	t.Helper()
	b.wait()
	d := digest.FromBytes(content)
	got, err := os.ReadFile(b.store.BlobPath(d))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got), "the stored blob differs")
	if len(repos) == 0 {
		repos = []string{repo}
	}
	for _, name := range repos {
		require.True(t, b.store.HasLink(name, images.Layer, d), "no link in %s", name)
	}
	require.NoDirExists(t, b.store.FillDir(d))
}

func (b *bench) requireNotStored(t testing.TB, d digest.Digest) {
	t.Helper()
	b.wait()
	_, err := b.store.StatBlob(d)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, b.store.HasLink(repo, images.Layer, d))
}

func (b *bench) fillFiles(t testing.TB, d digest.Digest) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(b.store.FillDir(d), "*"))
	require.NoError(t, err)
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	return paths
}

func count(t testing.TB, c prometheus.Counter) int {
	t.Helper()
	return int(testutil.ToFloat64(c))
}

func requireContent(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "got other bytes than the blob's: %d of %d", len(got), len(want))
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirVar); dir != "" {
		crashingFill(dir)
	}
	goleak.VerifyTestMain(m)
}

// contextGone returns a context that has ended.
func contextGone() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
