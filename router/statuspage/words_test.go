package statuspage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"registrycache/status"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", -time.Second: "0 ms", 250 * time.Millisecond: "250 ms", time.Second: "1 s", 59 * time.Second: "59 s",
		time.Minute: "1 min", 9*time.Minute + 59*time.Second: "9 min", 59 * time.Minute: "59 min", time.Hour: "1 h",
		61 * time.Minute: "1 h 1 min", 25 * time.Hour: "1 d 1 h", 9 * day: "9 d", 12*day + time.Hour: "12 d",
	} {
		assert.Equal(t, want, span(d))
	}
}

// A rounded share must not claim what is not so.
func TestShares(t *testing.T) {
	for _, try := range []struct {
		hits, requests int64
		want           string
	}{
		{0, 0, "–"}, {0, 5, "0 %"}, {5, 5, "100 %"}, {1, 2, "50 %"}, {2, 3, "66.7 %"},
		{99_999, 100_000, "99.9 %"}, {1, 100_000, "< 0.1 %"}, {999, 1000, "99.9 %"},
	} {
		assert.Equal(t, try.want, ratio(status.Tally{Hits: try.hits, Requests: try.requests}))
	}
	assert.Equal(t, "–", percent(1, 0))
	assert.Equal(t, "112 %", percent(9, 8))
}

func TestMoments(t *testing.T) {
	at := func(d time.Duration) moment { return moment{noon.Add(d), noon} }
	assert.Equal(t, "just now", ago(at(-59*time.Second)))
	assert.Equal(t, "just now", ago(at(time.Hour)), "clocks differ")
	assert.Equal(t, "2 h 5 min ago", ago(at(-125*time.Minute)))
	assert.Equal(t, "under 1 min", since(at(-time.Second)))
	assert.Equal(t, "in 17 min", until(at(17*time.Minute)))
	assert.Equal(t, "within a minute", until(at(-time.Minute)))
}

func TestClock(t *testing.T) {
	assert.Equal(t, "2026-11-20 12:00:30 UTC", clock(noon))
	assert.Equal(t, "2026-11-20 14:00:30 UTC+02:00", clock(noon.In(time.FixedZone("", 2*60*60))))
	assert.Equal(t, "–", clock(time.Time{}))
}

func TestTimeLeft(t *testing.T) {
	assert.Equal(t, "10 s", timeLeft(status.Fill{Size: 1100, Have: 100, Rate: 100}))
	assert.Equal(t, "1 s", timeLeft(status.Fill{Size: 100, Have: 100, Rate: 100}))
	assert.Empty(t, timeLeft(status.Fill{Size: 100}))
	assert.Empty(t, timeLeft(status.Fill{Size: -1, Rate: 100}))
}

func TestGauges(t *testing.T) {
	assert.Equal(t, gauge{50, toneGood}, newGauge(5, 10))
	assert.Equal(t, gauge{100, toneWarn}, newGauge(11, 10))
	assert.Equal(t, gauge{0, toneGood}, newGauge(11, 0))
	assert.Equal(t, gauge{97, toneGood}, headroom(97, 100))
	assert.Equal(t, gauge{20, toneWarn}, headroom(20, 100))
	assert.Equal(t, gauge{0, toneBad}, headroom(0, 100))
	assert.Equal(t, gauge{0, toneBad}, headroom(-1, 0))
}

func TestShortDigests(t *testing.T) {
	assert.Equal(t, "0123456789ab", short("sha256:0123456789abcdef"))
	assert.Equal(t, "01", short("01"))
}
