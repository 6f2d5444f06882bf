package main

import (
	"fmt"
	"time"
)

// maxRetryLines is how many retries are told within meterEvery: all images of an
// upstream that is down are tried side by side.
const maxRetryLines = 10

// warmRetries tells of what is tried again. Its owner guards it.
type warmRetries struct {
	since         time.Time
	shown, hidden int
}

// line is empty when enough was told for now.
func (r *warmRetries) line(now time.Time, what string, err error, in time.Duration) string {
	if now.Sub(r.since) >= meterEvery {
		r.since, r.shown = now, 0
	}
	if r.shown == maxRetryLines {
		r.hidden++
		return ""
	}
	r.shown++
	text := fmt.Sprintf("%s: %v; again in %s", what, err, tookText(in))
	if r.hidden > 0 {
		text += fmt.Sprintf(" (%d more are not listed)", r.hidden)
		r.hidden = 0
	}
	return text
}
