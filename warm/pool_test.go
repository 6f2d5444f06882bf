package warm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPoolRunsJobsInTheirOrder(t *testing.T) {
	p := newPool(1)
	var order []int
	for i := range 10 {
		p.add(func() { order = append(order, i) })
	}
	p.wait()
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, order)
}

func TestPoolGivesTheRoomOfThoseThatPauseToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		var order []string
		p.add(func() {
			order = append(order, "fails")
			require.NoError(t, p.pause(t.Context(), time.Minute))
			order = append(order, "goes on")
		})
		p.add(func() {
			order = append(order, "other")
			time.Sleep(2 * time.Minute)
			order = append(order, "other ends")
		})
		p.wait()
		require.Equal(t, []string{"fails", "other", "other ends", "goes on"}, order, "one at a time")
	})
}

func TestPoolPauseEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrInterrupted)
	p := newPool(1)
	var err error
	p.add(func() { err = p.pause(ctx, time.Hour) })
	p.wait()
	require.Equal(t, ErrInterrupted, err)
	require.Equal(t, 1, p.room)
}

// What a job adds comes before the jobs that are yet to be fed.
func TestPoolIsFed(t *testing.T) {
	p := newPool(1)
	var order []string
	for _, name := range []string{"a", "b", "c"} {
		p.feed(func() {
			order = append(order, name)
			p.add(func() { order = append(order, name+" more") })
		})
	}
	p.wait()
	require.Len(t, order, 6)
	require.Equal(t, "a", order[0])
	require.Contains(t, order[:4], "a more")
	require.Equal(t, "c more", order[5])
}
