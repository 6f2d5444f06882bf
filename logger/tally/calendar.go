package tally

import "time"

const (
	hourSeconds = 60 * 60
	daySeconds  = 24 * hourSeconds
	weekHours   = 7 * 24
	weekDays    = 7
)

// calendar tells the hour and the day of a time, cheaply when it is in the hour
// of the one before. Hours begin where they do on a clock of the zone, so that
// midnight is the begin of one also where zones are half an hour off.
type calendar struct {
	zone *time.Location
	// hour is its begin, in seconds since 1970, and day a number that counts on.
	hour, day int64
}

func (c *calendar) turn(t time.Time) {
	unix := t.Unix()
	if c.hour <= unix && unix < c.hour+hourSeconds && c.hour != 0 {
		return
	}
	_, offset := t.In(c.zone).Zone()
	local := unix + int64(offset)
	c.hour = floor(local, hourSeconds)*hourSeconds - int64(offset)
	c.day = floor(local, daySeconds)
}

// floor divides, and rounds down also below 0.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// midnight is when the day of t began.
func (c *calendar) midnight(t time.Time) int64 {
	y, m, d := t.In(c.zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, c.zone).Unix()
}
