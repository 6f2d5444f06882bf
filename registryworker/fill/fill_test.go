package fill

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/registryworker/upstream"
)

func TestFillStoresAndLinks(t *testing.T) {
	for _, size := range []int{0, 1, 1000, holdAll, holdAll + 1, 300_000} {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(size))
		r := b.open(t, o, o.digest)
		assert.EqualValues(t, size, r.Size())
		assert.True(t, r.Stored())
		assert.False(t, r.Joined())
		requireContent(t, r, o.content)
		b.requireStored(t, o.content)
		o.assertOnce(t)
		if size > 0 {
			assert.Len(t, o.asked(), 1, "requests for %d bytes", size)
		}
		assert.Equal(t, 1, count(t, b.metrics.completed))
		assert.Equal(t, size, count(t, b.metrics.received))
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(100_000))
		d := alg.FromBytes(o.content)
		requireContent(t, b.open(t, o, d), o.content)
		b.wait()
		_, err := b.store.StatBlob(d)
		assert.NoError(t, err, alg)
	}
}

func TestOpenRefusesWhatIsNoDigest(t *testing.T) {
	b := newBench(t, Options{})
	_, err := b.Open(t.Context(), repo, "sha256:../../../etc/passwd", newOrigin(nil))
	require.ErrorIs(t, err, digest.ErrDigestInvalidLength)
}

func TestStampedeIsOneTransfer(t *testing.T) {
	for name, size := range map[string]int{"one connection": 60_000, "several": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, smallOptions)
			o := newOrigin(randomBytes(size))
			o.every = func(x *exchange) { x.chunk = 4000 }
			var clients sync.WaitGroup
			for range 50 {
				clients.Go(func() {
					r, err := b.Open(t.Context(), repo, o.digest, o)
					if !assert.NoError(t, err) {
						return
					}
					got, err := io.ReadAll(r)
					assert.NoError(t, err)
					assert.Equal(t, o.digest, digest.FromBytes(got))
					assert.NoError(t, r.Close())
				})
			}
			clients.Wait()
			b.requireStored(t, o.content)
			o.assertOnce(t)
			assert.Equal(t, 1, count(t, b.metrics.started))
		})
	}
}

func TestBytesFlowBeforeTheEnd(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(200_000))
	rest := make(chan struct{})
	o.every = pauseAt(100_000, rest)
	r := b.open(t, o, o.digest)
	half := make([]byte, 100_000)
	_, err := io.ReadFull(r, half)
	require.NoError(t, err)
	require.Equal(t, o.content[:100_000], half)

	late := b.open(t, o, o.digest)
	assert.True(t, late.Joined())
	_, err = io.ReadFull(late, half)
	require.NoError(t, err)

	p := b.Running()
	require.Len(t, p, 1)
	assert.EqualValues(t, 200_000, p[0].Size)
	assert.EqualValues(t, 100_000, p[0].Have)
	assert.Equal(t, 2, p[0].Readers)
	assert.Equal(t, repo, p[0].Repository)
	assert.True(t, b.Filling(repo, o.digest))
	assert.False(t, b.Filling("quay.io/other", o.digest))

	close(rest)
	requireContent(t, r, o.content[100_000:])
	requireContent(t, late, o.content[100_000:])
	b.requireStored(t, o.content)
	assert.Empty(t, b.Running())
	assert.False(t, b.Filling(repo, o.digest))
	o.assertOnce(t)
}

func TestFillOutlivesItsClients(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(200_000))
	gate := make(chan struct{})
	o.every = func(x *exchange) { x.gate = func(int64) <-chan struct{} { return gate } }
	ctx, leave := context.WithCancel(t.Context())
	r, err := b.Open(ctx, repo, o.digest, o)
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 10))
		failed <- err
	}()
	leave()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.NoError(t, r.Close())
	close(gate)
	b.requireStored(t, o.content)
}

func TestClientLeavesBeforeTheAnswer(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	asked, answer := make(chan struct{}), make(chan struct{})
	o.every = func(*exchange) { close(asked); <-answer }
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-asked; leave() }()
	_, err := b.Open(ctx, repo, o.digest, o)
	require.ErrorIs(t, err, context.Canceled)
	close(answer)
	b.requireStored(t, o.content)
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	gate := make(chan struct{})
	o.every = func(x *exchange) { x.gate = func(int64) <-chan struct{} { return gate } }
	r := b.open(t, o, o.digest)
	failed := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 10))
		failed <- err
	}()
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-failed, os.ErrClosed)
	_, err := r.Read(make([]byte, 10))
	require.ErrorIs(t, err, os.ErrClosed)
	close(gate)
}

func TestSlowReaderHoldsUpNobody(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(4 << 20))
	slow := b.open(t, o, o.digest)
	_, err := io.ReadFull(slow, make([]byte, 1000))
	require.NoError(t, err)
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)
	requireContent(t, slow, o.content[1000:])
}

func TestJoinDuringCommit(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	committing, commit := make(chan struct{}), make(chan struct{})
	inner := b.files.commit
	b.files.commit = func(f *os.File, d digest.Digest) error {
		close(committing)
		<-commit
		return inner(f, d)
	}
	requireContent(t, b.open(t, o, o.digest), o.content)
	<-committing
	late := b.open(t, o, o.digest)
	other, err := b.Open(t.Context(), "quay.io/other", o.digest, statOrigin{o})
	require.NoError(t, err)
	requireContent(t, late, o.content)
	close(commit)
	b.requireStored(t, o.content, repo, "quay.io/other")
	requireContent(t, other, o.content)
	require.NoError(t, other.Close())
	o.assertOnce(t)
}

func TestRefusalIsReturnedAsItIs(t *testing.T) {
	for _, kind := range []upstream.Kind{upstream.NotFound, upstream.Unauthorized, upstream.Denied} {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(1000))
		o.every = failWith(kind, 0)
		_, err := b.Open(t.Context(), repo, o.digest, o)
		require.Error(t, err)
		assert.Equal(t, kind, upstream.KindOf(err))
		assert.Len(t, o.asked(), 1)
		b.requireNotStored(t, o.digest)
		assert.NoDirExists(t, b.store.FillDir(o.digest))
	}
}

func TestStoredBlobNeedsPermission(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(1000))
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)

	requireContent(t, b.open(t, o, o.digest), o.content)
	require.Len(t, o.asked(), 1, "a linked blob needs no upstream")

	denied := newOrigin(o.content)
	denied.stat = func() (int64, error) { return 0, &upstream.Error{Kind: upstream.Denied} }
	_, err := b.Open(t.Context(), "quay.io/secret", o.digest, statOrigin{denied})
	require.Equal(t, upstream.Denied, upstream.KindOf(err))
	require.False(t, b.store.HasLink("quay.io/secret", images.Layer, o.digest))

	other := newOrigin(o.content)
	r, err := b.Open(t.Context(), "quay.io/other", o.digest, statOrigin{other})
	require.NoError(t, err)
	requireContent(t, r, o.content)
	require.NoError(t, r.Close())
	require.Empty(t, other.asked())
	require.Equal(t, 1, other.stats)
	require.True(t, b.store.HasLink("quay.io/other", images.Layer, o.digest))

	// Without StatBlob, one byte tells.
	plain := newOrigin(o.content)
	r, err = b.Open(t.Context(), "quay.io/third", o.digest, plain)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, []span{{0, 1}}, plain.asked())
}

func TestJoiningRepositoryNeedsPermission(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	gate := make(chan struct{})
	o.every = func(x *exchange) { x.gate = func(int64) <-chan struct{} { return gate } }
	r := b.open(t, o, o.digest)

	denied := newOrigin(o.content)
	denied.stat = func() (int64, error) { return 0, &upstream.Error{Kind: upstream.NotFound} }
	_, err := b.Open(t.Context(), "quay.io/secret", o.digest, statOrigin{denied})
	require.Equal(t, upstream.NotFound, upstream.KindOf(err))

	other := newOrigin(o.content)
	joined, err := b.Open(t.Context(), "quay.io/other", o.digest, statOrigin{other})
	require.NoError(t, err)
	require.True(t, joined.Joined())
	require.True(t, b.Filling("quay.io/other", o.digest))
	close(gate)
	requireContent(t, joined, o.content)
	require.NoError(t, joined.Close())
	requireContent(t, r, o.content)
	b.requireStored(t, o.content, repo, "quay.io/other")
	require.False(t, b.store.HasLink("quay.io/secret", images.Layer, o.digest))
	require.Empty(t, other.asked())
}

// A refusal to one repository says nothing about another that came meanwhile.
func TestRefusalOfAnotherRepository(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	asked, answer := make(chan struct{}), make(chan struct{})
	denied := newOrigin(o.content)
	denied.every = func(x *exchange) {
		close(asked)
		<-answer
		x.err = &upstream.Error{Kind: upstream.Denied}
	}
	refused := make(chan error)
	go func() {
		_, err := b.Open(t.Context(), "quay.io/secret", o.digest, denied)
		refused <- err
	}()
	<-asked
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := b.Open(t.Context(), repo, o.digest, o)
		if assert.NoError(t, err) {
			_, err = io.Copy(io.Discard, r)
			assert.NoError(t, err)
			assert.NoError(t, r.Close())
		}
	}()
	close(answer)
	require.Equal(t, upstream.Denied, upstream.KindOf(<-refused))
	<-done
	b.requireStored(t, o.content)
	require.False(t, b.store.HasLink("quay.io/secret", images.Layer, o.digest))
}

func TestSeek(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(100_000))
	r := b.open(t, o, o.digest)
	end, err := r.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	require.EqualValues(t, 100_000, end)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = r.Seek(-10, io.SeekCurrent)
	require.NoError(t, err)
	requireContent(t, r, o.content[99_990:])
	_, err = r.Seek(50_000, io.SeekStart)
	require.NoError(t, err)
	requireContent(t, r, o.content[50_000:])
	_, err = r.Seek(-1, io.SeekStart)
	require.Error(t, err)
	_, err = r.Seek(0, 7)
	require.Error(t, err)
	_, err = r.Seek(200_000, io.SeekStart)
	require.NoError(t, err)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestOpenAfterClose(t *testing.T) {
	b := openBench(t, t.TempDir(), Options{})
	require.NoError(t, b.Close(t.Context()))
	_, err := b.Open(t.Context(), repo, digest.FromString("x"), newOrigin([]byte("x")))
	require.ErrorIs(t, err, ErrClosed)
	require.False(t, errors.Is(err, context.Canceled))
}
