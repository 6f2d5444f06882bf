package fill

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// dice is a source of randomness for several goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) n(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Int64N(n)
}

// misbehave does something to one exchange in two.
func (d *dice) misbehave(x *exchange) {
	capped(x)
	at := x.from + d.n(x.to-x.from+1)
	switch d.n(20) {
	case 0, 1:
		x.dropAt = at
	case 2:
		x.dropAt, x.dropErr = at, nil
	case 3:
		x.stallAt = at
	case 4:
		x.err = &upstream.Error{Kind: upstream.RateLimited, RetryAfter: time.Duration(d.n(int64(20 * time.Second)))}
	case 5:
		x.err = &upstream.Error{Kind: upstream.Unavailable}
	case 6:
		x.err = &upstream.Error{Kind: upstream.Invalid}
	case 7:
		noRanges(x)
	case 8:
		all(noRanges, func(x *exchange) { x.size = -1 })(x)
	case 9:
		x.size = -1
	case 10:
		if d.n(5) == 0 {
			flipFirstByte(x)
		}
	}
}

// Whatever goes wrong at once: a reader gets the blob's bytes or an error, and
// what is stored is right.
func TestChaos(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dice{r: rand.New(rand.NewPCG(seed, 7))}
				b := newBench(t, smallOptions)
				if seed%4 == 0 {
					inner := b.files.writeAt
					b.files.writeAt = func(f *os.File, p []byte, off int64) (int, error) {
						if d.n(50) == 0 {
							return 0, syscall.EIO
						}
						return inner(f, p, off)
					}
				}
				o := newOrigin(randomBytes(int(d.n(400_000))))
				o.every = d.misbehave
				var clients sync.WaitGroup
				var complete int
				for range 10 {
					clients.Go(func() {
						time.Sleep(time.Duration(d.n(int64(2 * time.Second))))
						r, err := b.Open(t.Context(), repo, o.digest, statOrigin{o})
						if err != nil {
							return
						}
						defer func() { assert.NoError(t, r.Close()) }()
						from := int64(0)
						if d.n(2) == 0 {
							from = d.n(int64(len(o.content)) + 1)
						}
						_, err = r.Seek(from, io.SeekStart)
						assert.NoError(t, err)
						var got bytes.Buffer
						if d.n(2) == 0 {
							_, err = io.Copy(&got, &follower{Reader: r, b: b})
						} else {
							_, err = io.Copy(&got, r)
						}
						whole := from == 0 && err == nil
						if err == nil {
							assert.Len(t, got.Bytes(), len(o.content)-int(from))
						}
						if whole {
							assert.True(t, bytes.Equal(o.content, got.Bytes()))
							d.mu.Lock()
							complete++
							d.mu.Unlock()
						}
						assert.NotErrorIs(t, err, errAgain)
						assert.NotErrorIs(t, err, errDirect)
						assert.NotErrorIs(t, err, errStored)
					})
				}
				clients.Wait()
				b.wait()
				assert.Empty(t, b.Running())
				assert.Empty(t, b.direct)
				assert.Zero(t, b.streams.Load())
				if got, err := os.ReadFile(b.store.BlobPath(o.digest)); !errors.Is(err, os.ErrNotExist) {
					require.NoError(t, err)
					require.True(t, bytes.Equal(o.content, got), "the stored blob is wrong")
				} else if complete > 0 && seed%4 != 0 {
					t.Error("somebody got the blob but it is not stored")
				}

				// With an upstream that behaves, all is well again.
				o.every = nil
				requireContent(t, b.open(t, statOrigin{o}, o.digest), o.content)
			})
		})
	}
}
