package fill

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunningFillsAreShownOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		rest := make(chan struct{})
		first, second := newOrigin(randomBytes(60_000)), newOrigin(randomBytes(50_000))
		first.every, second.every = pauseAt(20_000, rest), pauseAt(0, rest)
		begun := time.Now()
		r1 := b.open(t, first, first.digest)
		time.Sleep(time.Second)
		r2 := b.open(t, second, second.digest)
		r3, err := b.Open(t.Context(), "another/repository", first.digest, first)
		require.NoError(t, err)
		synctest.Wait()

		assert.Equal(t, []Progress{
			{Digest: first.digest, Repository: repo, Size: 60_000, Have: 20_000, Rate: 20_000, Readers: 2, Connections: 1, Started: begun},
			{Digest: second.digest, Repository: repo, Size: 50_000, Readers: 1, Connections: 1, Started: begun.Add(time.Second)},
		}, b.Running())

		time.Sleep(9 * time.Second) // the upstream stalls
		assert.Zero(t, b.Running()[0].Rate)

		close(rest)
		requireContent(t, r1, first.content)
		requireContent(t, r2, second.content)
		require.NoError(t, r3.Close())
		b.wait()
		assert.Empty(t, b.Running())
	})
}

func TestFillThatNobodyAnswersIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, smallOptions)
		o := newOrigin(randomBytes(60_000))
		answer := make(chan struct{})
		o.every = func(*exchange) { <-answer }
		opened := make(chan *Reader)
		go func() {
			r, err := b.Open(t.Context(), repo, o.digest, o)
			assert.NoError(t, err)
			opened <- r
		}()
		synctest.Wait()
		running := b.Running()
		require.Len(t, running, 1)
		assert.EqualValues(t, -1, running[0].Size)
		assert.Zero(t, running[0].Have)
		assert.Equal(t, 1, running[0].Connections)
		close(answer)
		r := <-opened
		requireContent(t, r, o.content)
		require.NoError(t, r.Close())
	})
}
