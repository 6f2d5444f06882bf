package fill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMeter(t *testing.T) {
	begun := time.Now()
	at := func(seconds float64) time.Time { return begun.Add(time.Duration(seconds * float64(time.Second))) }
	m := newMeter(begun)
	assert.Zero(t, m.rate(at(0)))

	// What comes at once is not taken for the speed.
	m.add(at(0.1), 1000)
	assert.EqualValues(t, 1000, m.rate(at(0.1)))
	assert.EqualValues(t, 500, m.rate(at(2)))

	// A steady stream has its speed, wherever in a second it is asked.
	for tick := 1; tick <= 100; tick++ {
		m.add(at(2+float64(tick)/10), 200)
	}
	for _, s := range []float64{12, 12.05, 12.09} {
		assert.InDelta(t, 2000, m.rate(at(s)), 50, "%v", s)
	}

	// One that stalls goes down to nothing.
	before := m.rate(at(12.1))
	for s := 13.5; s < 17; s++ {
		now := m.rate(at(s))
		assert.Less(t, now, before)
		before = now
	}
	assert.Zero(t, m.rate(at(18)))
	m.add(at(1000), 6000)
	assert.EqualValues(t, 1200, m.rate(at(1000)))

	// The clock of another goroutine may be a little behind.
	m.add(at(999.9), 6000)
	assert.EqualValues(t, 2400, m.rate(at(1000)))
}
