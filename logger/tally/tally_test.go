package tally

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/status"
)

func TestWhatCounts(t *testing.T) {
	hit := status.Tally{Requests: 1, Hits: 1, Sent: 100, Saved: 100}
	fetched := status.Tally{Requests: 1, Sent: 100}
	for name, c := range map[string]struct {
		change func(*accesslog.Record)
		want   status.Tally
	}{
		"hit":               {func(*accesslog.Record) {}, hit},
		"manifest":          {func(r *accesslog.Record) { r.Kind, r.Reference = "manifests", "1" }, hit},
		"revalidated":       {func(r *accesslog.Record) { r.Cache = accesslog.Revalidated }, hit},
		"stale":             {func(r *accesslog.Record) { r.Cache = accesslog.Stale }, hit},
		"collapsed":         {func(r *accesslog.Record) { r.Cache = accesslog.Collapsed }, hit},
		"range":             {func(r *accesslog.Record) { r.Status = 206 }, hit},
		"miss":              {func(r *accesslog.Record) { r.Cache = accesslog.Miss }, fetched},
		"passed":            {func(r *accesslog.Record) { r.Cache = accesslog.Passed }, fetched},
		"unknown cache":     {func(r *accesslog.Record) { r.Cache = "" }, fetched},
		"not modified":      {func(r *accesslog.Record) { r.Status, r.Cache = 304, accesslog.Miss }, status.Tally{Requests: 1, Hits: 1}},
		"failed":            {func(r *accesslog.Record) { r.Status, r.Cache = 502, accesslog.Failed }, status.Tally{Requests: 1, Failed: 1}},
		"hostile bytes":     {func(r *accesslog.Record) { r.Bytes = -1 }, status.Tally{Requests: 1, Hits: 1}},
		"head":              {func(r *accesslog.Record) { r.Method = "HEAD" }, status.Tally{}},
		"head of a tag":     {func(r *accesslog.Record) { r.Method, r.Kind, r.Reference = "HEAD", "manifests", "1" }, status.Tally{}},
		"push":              {func(r *accesslog.Record) { r.Method = "PUT" }, status.Tally{}},
		"not found":         {func(r *accesslog.Record) { r.Status = 404 }, status.Tally{}},
		"client left":       {func(r *accesslog.Record) { r.Status = 499 }, status.Tally{}},
		"warmed":            {func(r *accesslog.Record) { r.UserAgent = accesslog.WarmAgent + "1" }, status.Tally{}},
		"tags":              {func(r *accesslog.Record) { r.Kind = "tags" }, status.Tally{}},
		"referrers":         {func(r *accesslog.Record) { r.Kind = "referrers" }, status.Tally{}},
		"of no upstream":    {func(r *accesslog.Record) { r.Upstream = "" }, status.Tally{}},
		"hostile upstream":  {func(r *accesslog.Record) { r.Upstream = strings.Repeat("a", 1000) }, status.Tally{}},
		"of the cache":      {func(r *accesslog.Record) { r.Cache = accesslog.Local }, status.Tally{}},
		"clock not set yet": {func(r *accesslog.Record) { r.Time = time.Unix(1, 0) }, status.Tally{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTally(t)
			r := blob()
			c.change(&r)
			m.Count(r)
			m.Count(r)
			if c.want == (status.Tally{}) {
				require.Empty(t, m.Traffic().Upstreams)
				require.Zero(t, m.Traffic().Hours[weekHours-1].Tally)
				return
			}
			c.want.Add(c.want)
			require.Equal(t, status.UpstreamTraffic{Path: "quay.io", Today: c.want, Week: c.want, Total: c.want}, m.upstream(t, "quay.io"))
		})
	}
}

func TestTrafficBeginsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := newTally(t).Traffic()
		require.True(t, got.Since.Equal(time.Now()))
		require.Empty(t, got.Upstreams)
		require.NotNil(t, got.Upstreams, "an empty list in JSON")
		require.Empty(t, got.Busiest)
		require.NotNil(t, got.Busiest)
		require.Empty(t, got.Newest)
		require.NotNil(t, got.Newest)
		require.Len(t, got.Hours, 7*24)
		for i, h := range got.Hours {
			require.True(t, h.Begin.Equal(time.Now().Add(time.Duration(i-7*24+1)*time.Hour)))
			require.Zero(t, h.Tally)
		}
	})
}

// In the bubble it is midnight UTC.
func TestHoursDaysAndWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.use(time.UTC)
		began := time.Now()
		count := func(upstream string) {
			r := blob()
			r.Upstream = upstream
			m.Count(r)
		}
		numbers := func(path string) [3]int64 {
			u := m.upstream(t, path)
			return [3]int64{u.Today.Requests, u.Week.Requests, u.Total.Requests}
		}
		count("quay.io")
		time.Sleep(time.Hour - 1)
		count("quay.io")
		time.Sleep(time.Nanosecond)
		count("quay.io")
		count("docker.io")
		require.Equal(t, [3]int64{3, 3, 3}, numbers("quay.io"))
		require.Equal(t, "docker.io", m.Traffic().Upstreams[0].Path)
		hours := m.Traffic().Hours
		require.EqualValues(t, 2, hours[weekHours-2].Requests)
		require.True(t, hours[weekHours-2].Begin.Equal(began))
		require.EqualValues(t, 2, hours[weekHours-1].Requests)

		time.Sleep(23 * time.Hour) // another day
		count("quay.io")
		require.Equal(t, [3]int64{1, 4, 4}, numbers("quay.io"))
		require.Equal(t, [3]int64{0, 1, 1}, numbers("docker.io"))

		time.Sleep(6*24*time.Hour - 1) // a week after the first, but for the last hour of it
		require.Equal(t, [3]int64{0, 4, 4}, numbers("quay.io"))
		time.Sleep(time.Nanosecond)
		require.Equal(t, [3]int64{0, 2, 4}, numbers("quay.io"))
		require.EqualValues(t, 2, m.Traffic().Hours[0].Requests)
		time.Sleep(time.Hour)
		require.Equal(t, [3]int64{0, 1, 4}, numbers("quay.io"))
		count("quay.io")
		require.Len(t, m.upstreams["quay.io"].hours, 2, "what is older is dropped")
		require.Equal(t, [3]int64{0, 0, 1}, numbers("docker.io"), "stays for its total")
	})
}

// A logger that was away catches up: the records' times count, not its own.
func TestRecordsCountWhenTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.use(time.UTC)
		time.Sleep(10*24*time.Hour + 90*time.Minute)
		for _, ago := range []time.Duration{3 * time.Hour, 2 * time.Hour, 7 * 24 * time.Hour, 9 * 24 * time.Hour, 2*time.Hour + 1, -time.Hour, 0} {
			r := blob()
			r.Time = r.Time.Add(-ago)
			m.Count(r)
		}
		u := m.upstream(t, "quay.io")
		require.EqualValues(t, 7, u.Total.Requests)
		require.EqualValues(t, 2, u.Today.Requests, "one of them from the future, which is now")
		require.EqualValues(t, 5, u.Week.Requests)
		hours := m.Traffic().Hours
		require.EqualValues(t, 2, hours[weekHours-1].Requests)
		require.Zero(t, hours[weekHours-2].Requests)
		require.EqualValues(t, 2, hours[weekHours-3].Requests)
		require.EqualValues(t, 1, hours[weekHours-4].Requests)
	})
}

// Where clocks are half an hour off, a day begins in the middle of an hour UTC.
func TestDaysBeginAtLocalMidnight(t *testing.T) {
	for name, minutes := range map[string]int{"india": 330, "nepal": 345, "newfoundland": -210, "kiritimati": 840, "utc": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone := time.FixedZone(name, minutes*60)
				m := newTally(t)
				m.use(zone)
				y, mo, d := time.Now().In(zone).Date()
				time.Sleep(time.Until(time.Date(y, mo, d+1, 0, 0, 0, -1, zone)))
				m.Count(blob())
				require.EqualValues(t, 1, m.upstream(t, "quay.io").Today.Requests)
				time.Sleep(time.Nanosecond)
				require.Zero(t, m.upstream(t, "quay.io").Today.Requests)
				m.Count(blob())
				require.EqualValues(t, 1, m.upstream(t, "quay.io").Today.Requests)
				last := m.Traffic().Hours[weekHours-1]
				require.True(t, last.Begin.Equal(time.Now()))
				require.EqualValues(t, 1, last.Requests)
				require.EqualValues(t, 1, m.Traffic().Hours[weekHours-2].Requests)
			})
		})
	}
}

func TestUpstreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		for i := range maxUpstreams + 10 {
			r := blob()
			r.Upstream = fmt.Sprintf("r%d.example", i)
			m.Count(r)
			time.Sleep(time.Hour)
		}
		require.Len(t, m.upstreams, maxUpstreams)
		require.Contains(t, m.upstreams, fmt.Sprintf("r%d.example", maxUpstreams+9))
		require.NotContains(t, m.upstreams, "r9.example")
		require.Contains(t, m.upstreams, "r10.example")
	})
}

// One that left the configuration is shown until it was not used for long.
func TestAnUpstreamWithoutTrafficIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.Count(blob())
		time.Sleep(forgetAfter * time.Second)
		m.Close()
		m.open()
		require.EqualValues(t, 1, m.upstream(t, "quay.io").Total.Requests)
		time.Sleep(2 * time.Hour)
		r := blob()
		r.Upstream = "docker.io"
		m.Count(r)
		m.Close()
		m.open()
		require.NotContains(t, m.upstreams, "quay.io")
	})
}

// A clock that jumps makes neither the memory grow nor the file one that can't
// be read again.
func TestClocksThatJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		for range 2000 {
			m.Count(blob())
			m.Count(manifest("GET", "latest", index))
			time.Sleep(time.Hour)
		}
		now := time.Now().Unix()
		u := m.upstreams["quay.io"]
		for i := range int64(2000) {
			u.add(now+i*hourSeconds, status.Tally{}, now)
		}
		require.LessOrEqual(t, len(u.hours), maxHours)
		m.Close()
		m.open()
		require.Empty(t, m.report)
		require.EqualValues(t, 4000, m.upstream(t, "quay.io").Total.Requests)
	})
}

func TestTrafficIsAskedWhileItIsCounted(t *testing.T) {
	m := newTally(t)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 100 {
				assert.NotNil(t, m.Traffic())
			}
		})
	}
	for i := range 1000 {
		m.Count(blob())
		m.Count(manifest("GET", fmt.Sprint(i), index))
		m.At(accesslog.Position{Offset: int64(i)})
	}
	m.Close()
	asking.Wait()
}

func BenchmarkCount(b *testing.B) {
	m := newTally(b)
	for name, r := range map[string]accesslog.Record{"Blob": blob(), "Tag": manifest("GET", "latest", index)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Count(r)
			}
		})
	}
}
