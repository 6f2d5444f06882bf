package fill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/registryworker/upstream"
)

// Whatever happens midway, the reader sees one clean body, and where the
// upstream takes ranges no byte comes twice.
func TestFillGoesOnAfter(t *testing.T) {
	const size = 200_000
	unavailable := failWith(upstream.Unavailable, 0)
	tests := map[string]struct {
		script []func(*exchange)
		every  func(*exchange)
		took   time.Duration // at least
		twice  bool          // bytes may come again
	}{
		"drop":             {script: []func(*exchange){dropAt(70_000)}, took: firstDelay},
		"drop at byte 0":   {script: []func(*exchange){dropAt(0)}, took: firstDelay},
		"drop of the last": {script: []func(*exchange){dropAt(size - 1)}, took: firstDelay},
		"short body":       {script: []func(*exchange){shortAt(70_000)}, took: firstDelay},
		"stall":            {script: []func(*exchange){stallAt(70_000)}, took: 30 * time.Second},
		"stall of a body that ignores its context": {
			script: []func(*exchange){all(stallAt(70_000), func(x *exchange) { x.ignoreDone = true })}, took: 30 * time.Second,
		},
		"5xx midway": {script: []func(*exchange){dropAt(70_000), unavailable, unavailable}, took: 7 * firstDelay},
		"5xx first":  {script: []func(*exchange){unavailable, unavailable}, took: 3 * firstDelay},
		"429 midway": {
			script: []func(*exchange){dropAt(70_000), failWith(upstream.RateLimited, 90*time.Second)},
			took:   90 * time.Second,
		},
		"429 first": {script: []func(*exchange){failWith(upstream.RateLimited, 3*time.Second)}, took: 3 * time.Second},
		"refusal midway": {
			script: []func(*exchange){dropAt(70_000), failWith(upstream.Unauthorized, 0)},
			took:   3 * firstDelay,
		},
		"many drops": {every: func(x *exchange) { x.dropAt = min(x.from+9_000, x.to) }, took: 22 * firstDelay},
		"ranges ignored": {
			script: []func(*exchange){all(noRanges, dropAt(70_000)), noRanges}, took: firstDelay, twice: true,
		},
		"ranges ignored only later": {
			script: []func(*exchange){dropAt(70_000), noRanges}, took: firstDelay, twice: true,
		},
		"ranges ignored only first": {script: []func(*exchange){all(noRanges, dropAt(70_000))}, took: firstDelay},
		"range shortened": {
			script: []func(*exchange){func(x *exchange) { x.to = 70_000 }}, took: firstDelay,
		},
		"wrong range": {
			script: []func(*exchange){dropAt(70_000), func(x *exchange) { x.from = 80_000 }}, took: 3 * firstDelay,
		},
		"another size once": {
			script: []func(*exchange){dropAt(70_000), func(x *exchange) { x.size = 1234 }}, took: 3 * firstDelay,
		},
		"ranges choke the upstream": {script: []func(*exchange){failWith(upstream.Invalid, 0)}},
		"ranges choke the upstream midway": {
			script: []func(*exchange){dropAt(70_000), failWith(upstream.Invalid, 0), failWith(upstream.Invalid, 0)},
			took:   3 * firstDelay, twice: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Options{MaxTries: 4})
				o := newOrigin(randomBytes(size))
				o.script, o.every = test.script, test.every
				begun := time.Now()
				requireContent(t, b.open(t, o, o.digest), o.content)
				b.requireStored(t, o.content)
				if !test.twice {
					o.assertOnce(t)
				}
				took := time.Since(begun)
				assert.GreaterOrEqual(t, took, test.took)
				assert.LessOrEqual(t, took, 2*test.took)
				assert.Equal(t, 1, count(t, b.metrics.started))
				assert.Equal(t, 0, count(t, b.metrics.wrongDigests))
			})
		})
	}
}

func TestLargeBlobWithoutRangesIsOneRequest(t *testing.T) {
	b := newBench(t, smallOptions)
	o := newOrigin(randomBytes(1 << 20))
	o.every = noRanges
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)
	o.assertOnce(t)
	require.Len(t, o.asked(), 1)
}

func TestUnknownSize(t *testing.T) {
	hide := func(x *exchange) { x.size = -1 }
	tests := map[string]func(*exchange){
		"no ranges":             all(noRanges, hide),
		"size hidden in ranges": hide,
		"hidden but where ranged": func(x *exchange) {
			if !x.ranged {
				x.size = -1
			}
		},
	}
	for name, every := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, smallOptions)
			o := newOrigin(randomBytes(300_000))
			o.every = every
			r := b.open(t, o, o.digest)
			require.EqualValues(t, len(o.content), r.Size())
			requireContent(t, r, o.content)
			b.requireStored(t, o.content)
		})
	}
}

func TestUnknownSizeSurvivesADrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(300_000))
		o.every = func(x *exchange) {
			noRanges(x)
			x.size = -1
			if x.n == 0 {
				x.dropAt = 100_000
			}
		}
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
	})
}

// Where nothing but the end of the body tells the size, a broken connection looks
// like it.
func TestUnknownSizeAndAnEarlyEnd(t *testing.T) {
	unknown := all(noRanges, func(x *exchange) { x.size = -1 })
	b := newBench(t, smallOptions)
	o := newOrigin(randomBytes(300_000))
	o.script = []func(*exchange){all(unknown, shortAt(100_000))}
	o.every = unknown
	r := b.open(t, o, o.digest)
	require.EqualValues(t, len(o.content), r.Size())
	requireContent(t, r, o.content)
	b.requireStored(t, o.content)

	other := newOrigin(randomBytes(300_000))
	other.every = all(unknown, shortAt(100_000))
	_, err := b.Open(t.Context(), repo, other.digest, other)
	require.ErrorIs(t, err, ErrWrongDigest)
	b.requireNotStored(t, other.digest)
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{MaxTries: 5})
		o := newOrigin(randomBytes(200_000))
		o.script = []func(*exchange){dropAt(70_000)}
		o.every = failWith(upstream.Unavailable, 0)
		r := b.open(t, o, o.digest)
		got, err := io.ReadAll(r)
		require.Error(t, err)
		require.NotErrorIs(t, err, io.EOF)
		require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, upstream.Unavailable, upstream.KindOf(err))
		assert.Contains(t, err.Error(), "given up after 5 tries")
		assert.Equal(t, o.content[:70_000], got)
		b.requireNotStored(t, o.digest)
		assert.Len(t, o.asked(), 1+5-1)
		assert.Equal(t, 1, count(t, b.metrics.failed))
		assert.Contains(t, b.log.String(), o.digest.String())

		// What came is there for the next.
		o.every = nil
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
		o.assertOnce(t)
		assert.Equal(t, 1, count(t, b.metrics.resumed))
	})
}

func TestFirstAnswerIsNotAwaitedForLong(t *testing.T) {
	tests := map[string]struct {
		every func(*exchange)
		kind  upstream.Kind
	}{
		"unavailable":  {failWith(upstream.Unavailable, 0), upstream.Unavailable},
		"rate limited": {failWith(upstream.RateLimited, time.Minute), upstream.RateLimited},
		"nonsense":     {failWith(upstream.Invalid, 0), upstream.Invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Options{MaxTries: 100})
				o := newOrigin(randomBytes(1000))
				o.every = test.every
				begun := time.Now()
				_, err := b.Open(t.Context(), repo, o.digest, o)
				require.Equal(t, test.kind, upstream.KindOf(err))
				require.LessOrEqual(t, time.Since(begun), patience)
				require.NotContains(t, err.Error(), "given up")
				require.NoDirExists(t, b.store.FillDir(o.digest))
			})
		})
	}
}

func TestRetryAfterTooLongEndsTheFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		o.script = []func(*exchange){dropAt(70_000), failWith(upstream.RateLimited, time.Hour)}
		_, err := io.ReadAll(b.open(t, o, o.digest))
		require.Equal(t, upstream.RateLimited, upstream.KindOf(err))
	})
}

func TestWrongBytesOfASmallBlobGoUnnoticed(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(5000))
	o.script = []func(*exchange){flipFirstByte}
	requireContent(t, b.open(t, o, o.digest), o.content)
	b.requireStored(t, o.content)
	assert.Equal(t, 1, count(t, b.metrics.wrongDigests))
	assert.Contains(t, b.log.String(), o.digest.String())
	assert.Contains(t, b.log.String(), repo)
}

func TestWrongBytesOfALargeBlob(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(200_000))
	begun, second := make(chan struct{}), make(chan struct{})
	o.script = []func(*exchange){
		all(flipFirstByte, pauseAt(100_000, begun)),
		func(x *exchange) { x.gate = func(int64) <-chan struct{} { return second } },
	}
	r := b.open(t, o, o.digest)
	_, err := io.CopyN(io.Discard, r, 100_000)
	require.NoError(t, err)
	close(begun)
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, ErrWrongDigest)
	require.Less(t, len(got), 100_000)
	// The error stays, and does not turn into the bytes of the second try.
	_, err = r.Read(make([]byte, 10))
	require.ErrorIs(t, err, ErrWrongDigest)

	next := b.open(t, o, o.digest)
	require.True(t, next.Joined())
	close(second)
	requireContent(t, next, o.content)
	b.requireStored(t, o.content)
	assert.Equal(t, 1, count(t, b.metrics.wrongDigests))
}

func TestWrongBytesTwice(t *testing.T) {
	for _, size := range []int{5000, 200_000} {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(size))
		o.every = flipFirstByte
		r, err := b.Open(t.Context(), repo, o.digest, o)
		if err == nil { // else it was over before we looked
			var got []byte
			got, err = io.ReadAll(r)
			require.Less(t, len(got), size)
			require.NoError(t, r.Close())
		}
		require.ErrorIs(t, err, ErrWrongDigest)
		b.requireNotStored(t, o.digest)
		require.NoDirExists(t, b.store.FillDir(o.digest))
		assert.Len(t, o.asked(), 2)
		assert.Equal(t, 2, count(t, b.metrics.wrongDigests))
		assert.Equal(t, 1, count(t, b.metrics.failed))
	}
}

func TestChangedSizeStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		// At first the upstream has something else, which is longer.
		other := append(bytes.Clone(o.content), randomBytes(1000)...)
		o.script = []func(*exchange){func(x *exchange) {
			x.size = int64(len(other))
			x.dropAt = 70_000
		}}
		r := b.open(t, o, o.digest)
		_, err := io.ReadAll(r)
		require.ErrorIs(t, err, errChanged)
		requireContent(t, b.open(t, o, o.digest), o.content)
		b.requireStored(t, o.content)
	})
}

func TestChangedSizeAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		o.every = func(x *exchange) {
			x.size += int64(x.n)
			x.dropAt = x.from + 1000
		}
		_, err := io.ReadAll(b.open(t, o, o.digest))
		require.Error(t, err)
		b.requireNotStored(t, o.digest)
	})
}

// A reader whose client was told a size can't follow a fill of another size,
// whoever started that.
func TestChangedSizeOfAnotherRepositorysFill(t *testing.T) {
	b := newBench(t, Options{})
	o := newOrigin(randomBytes(200_000))
	more := make(chan struct{})
	o.every = pauseAt(100_000, more)
	first := b.open(t, o, o.digest)
	ctx, cancel := context.WithCancelCause(t.Context())
	second := &Reader{
		engine: b.Engine, ctx: ctx, cancel: cancel, repo: "quay.io/zzz", digest: o.digest, src: statOrigin{o},
		size: 1000, wake: make(chan struct{}, 1),
	}
	require.ErrorIs(t, second.open(), errChanged)
	require.NoError(t, second.Close())
	close(more)
	requireContent(t, first, o.content)
	b.requireStored(t, o.content)
	require.False(t, b.store.HasLink("quay.io/zzz", images.Layer, o.digest))
}

// A source that fails is made up for by another repository's.
func TestSourceOfAnotherMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		o := newOrigin(randomBytes(200_000))
		joined := make(chan struct{})
		o.script = []func(*exchange){func(x *exchange) {
			x.dropAt = 70_000
			x.gate = func(int64) <-chan struct{} { return joined }
		}}
		o.every = failWith(upstream.Unauthorized, 0)
		r := b.open(t, o, o.digest)
		other := newOrigin(o.content)
		second, err := b.Open(t.Context(), "quay.io/zzz", o.digest, statOrigin{other})
		require.NoError(t, err)
		close(joined)
		requireContent(t, r, o.content)
		require.NoError(t, second.Close())
		b.requireStored(t, o.content, repo, "quay.io/zzz")
		require.NotEmpty(t, other.asked())
	})
}

func TestRetries(t *testing.T) {
	fail := errors.New("no")
	r := retries{max: 20}
	var last time.Duration
	for range 19 {
		d, err := r.broken(fail)
		require.NoError(t, err)
		require.GreaterOrEqual(t, d, min(last, maxDelay))
		require.LessOrEqual(t, d, maxDelay+maxDelay/4)
		last = d * 3 / 4
	}
	_, err := r.broken(fail)
	require.ErrorIs(t, err, fail)
	r.progress()
	d, err := r.broken(fail)
	require.NoError(t, err)
	require.Less(t, d, 2*firstDelay)

	many := retries{max: 1000, failed: 500}
	d, err = many.broken(fail)
	require.NoError(t, err)
	require.GreaterOrEqual(t, d, maxDelay)
}
