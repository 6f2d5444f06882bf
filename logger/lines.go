package logger

import (
	"github.com/rs/zerolog"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/logger/tally"
)

// trafficState is the name of the file of what was counted.
const trafficState = "traffic.json"

// lines is what is done with each line of the access log. It is for one
// goroutine.
type lines struct {
	uses    *uses
	tally   *tally.Tally
	metrics *metrics
}

// newLines also returns the place in the log up to which the tally counted.
func newLines(store *images.Store, log zerolog.Logger) (*lines, accesslog.Position) {
	m := newMetrics()
	u := newUses(store, log, m)
	t, from := tally.Open(tally.Options{File: store.StatePath(trafficState), Log: log, Listed: u.listed})
	return &lines{uses: u, tally: t, metrics: m}, from
}

func (l *lines) line(line []byte) {
	r, err := accesslog.Parse(line)
	if err != nil {
		l.metrics.damaged.Inc()
		return
	}
	if l.uses.record(r) {
		l.metrics.use.Inc()
	} else {
		l.metrics.other.Inc()
	}
	l.tally.Count(r)
}
