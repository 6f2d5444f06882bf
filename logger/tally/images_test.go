package tally

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/status"
)

func names(list []status.Image) (names []string) {
	for _, i := range list {
		names = append(names, i.Name[len(repo):])
	}
	return names
}

func TestBusiestAndNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.use(time.UTC)
		began := time.Now()
		pull := func(tag string) {
			m.Count(manifest("GET", tag, index))
			time.Sleep(time.Millisecond)
		}
		pull("old")
		pull("twice")
		pull("new")
		pull("twice")
		got := m.Traffic()
		require.Equal(t, []string{":twice", ":new", ":old"}, names(got.Busiest))
		require.Equal(t, []string{":new", ":twice", ":old"}, names(got.Newest))
		require.Equal(t, status.Image{
			Name: repo + ":twice", Pulls: 2, First: began.Add(time.Millisecond).Local(), Last: began.Add(3 * time.Millisecond).Local(),
		}, got.Busiest[0])

		time.Sleep(6 * 24 * time.Hour)
		pull("old")
		require.EqualValues(t, 2, m.pulled()[":old"])
		time.Sleep(24 * time.Hour)
		require.Equal(t, map[string]int64{":old": 1}, m.pulled(), "those of the first day are a week old")
		require.Equal(t, []string{":new", ":twice", ":old"}, names(m.Traffic().Newest), "but not forgotten")
		pull("twice")
		require.Equal(t, []string{":new", ":twice", ":old"}, names(m.Traffic().Newest), "nor new again")
		time.Sleep(30 * 24 * time.Hour)
		require.Empty(t, m.pulled())
		pull("twice")
		require.Equal(t, map[string]int64{":twice": 1}, m.pulled())
	})
}

// The clock of the machine was ahead, or the log is read late.
func TestPullsOutOfOrder(t *testing.T) {
	i := image{first: 100, last: 100, day: 20}
	for day, at := range map[int64]int64{20: 100, 14: 50, 13: 40} {
		i.add(at, day)
	}
	require.EqualValues(t, 2, i.week(20), "the third is too long ago")
	require.EqualValues(t, 1, i.week(21))
	require.EqualValues(t, 1, i.week(14), "up to a day before the last")
	require.Zero(t, i.week(27))
	require.Equal(t, []int64{40, 100}, []int64{i.first, i.last})
	i.add(1e9, 1e6)
	require.EqualValues(t, 1, i.week(1e6))
}

func TestImagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.use(time.UTC)
		pull := func(tag string) { m.Count(manifest("GET", tag, index)) }
		for i := range maxImages / 2 {
			pull(fmt.Sprint("gone", i))
		}
		time.Sleep(8 * 24 * time.Hour)
		for i := range maxImages / 2 {
			pull(fmt.Sprint("busy", i))
			pull(fmt.Sprint("busy", i))
		}
		require.Len(t, m.images, maxImages)
		time.Sleep(time.Minute)
		for i := range maxListed {
			pull(fmt.Sprint("new", i))
		}
		require.Less(t, len(m.images), maxImages*4/5, "room for a while")
		require.Greater(t, len(m.images), maxImages*3/4)
		most := 0
		for i := range maxImages {
			pull(fmt.Sprint("often", i))
			most = max(most, len(m.images))
		}
		require.Equal(t, maxImages, most)
		for i := range maxImages / 2 {
			require.NotNil(t, m.images[name{repo, fmt.Sprint("busy", i)}], "who is pulled more stays")
		}
		require.Nil(t, m.images[name{repo, "gone7"}])
		require.Len(t, m.Traffic().Busiest, maxListed)
		require.Len(t, m.Traffic().Newest, maxListed)
	})
}

// What was pulled first a moment ago is shown, however little it was pulled.
func TestTheNewestAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		for i := range maxImages {
			tag := fmt.Sprint("busy", i)
			m.Count(manifest("GET", tag, index))
			m.Count(manifest("GET", tag, index))
		}
		forgotten := 0
		for i := range 2000 {
			time.Sleep(time.Millisecond)
			before := len(m.images)
			m.Count(manifest("GET", fmt.Sprint("new", i), index))
			if len(m.images) > before {
				continue
			}
			forgotten++
			for back, got := range names(m.Traffic().Newest)[:min(i, maxListed)] {
				require.Equal(t, fmt.Sprint(":new", i-back), got)
			}
		}
		require.Greater(t, forgotten, 1)
	})
}

func BenchmarkTraffic(b *testing.B) {
	m := newTally(b)
	for i := range maxImages {
		m.Count(manifest("GET", fmt.Sprint("tag", i), index))
	}
	for b.Loop() {
		m.Traffic()
	}
}
