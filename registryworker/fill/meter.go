package fill

import "time"

// meterSeconds is over how many seconds a speed is measured.
const meterSeconds = 5

// meter tells how fast bytes came lately. It keeps the bytes of single seconds,
// so that it costs the same at any speed and nothing when none come.
type meter struct {
	begun time.Time
	// last is the second after begun that bytes came in last, and bytes what
	// came in it and those before, second s in place s % len(bytes).
	last  int64
	bytes [meterSeconds + 1]int64
}

func newMeter(now time.Time) meter { return meter{begun: now} }

// add notes bytes that have come.
func (m *meter) add(now time.Time, n int64) {
	m.turn(now)
	m.bytes[m.last%int64(len(m.bytes))] += n
}

// rate is in bytes a second: over the last full seconds and the one under way,
// or since the beginning if that is not long ago.
func (m *meter) rate(now time.Time) int64 {
	m.turn(now)
	var sum int64
	for _, n := range m.bytes {
		sum += n
	}
	took := now.Sub(m.begun)
	if m.last > meterSeconds {
		took -= time.Duration(m.last-meterSeconds) * time.Second
	}
	return int64(float64(sum) / max(took, time.Second).Seconds())
}

// turn forgets what is too long ago.
func (m *meter) turn(now time.Time) {
	second := int64(now.Sub(m.begun) / time.Second)
	for s := max(m.last+1, second-meterSeconds); s <= second; s++ {
		m.bytes[s%int64(len(m.bytes))] = 0
	}
	m.last = max(m.last, second)
}
