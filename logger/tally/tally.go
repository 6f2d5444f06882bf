// Package tally counts what clients pulled, from the records of the access log:
// per upstream and hour, and per image and day. It keeps that in one file, in
// which also stands up to which line of the log it counted, so that a restart,
// even after a kill, counts every line once. Only what the log itself loses is
// lost: where that is in memory, what a power failure or the kill of the whole
// container takes is at most what was counted since the file was last written.
//
// What it holds is bounded, in memory and on disk: hours and days are those of
// one week, and of upstreams and images there is a highest number. Images that
// were pulled least are forgotten first.
package tally

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"registrycache/logger/accesslog"
	"registrycache/status"
)

// earliest is what a clock shows that was set, in seconds since 1970.
const earliest = 365 * daySeconds

// Options are all needed.
type Options struct {
	// File is where the counts are kept. Its directory is made when missing.
	File string
	Log  zerolog.Logger
	// Listed says whether an index lists a manifest, or may do so as far as is
	// known; both are digests as a log has them. It is called by Count.
	Listed func(index, manifest string) bool
}

// Tally is what was counted. Count, At and Close are for one goroutine, Traffic
// for any. Use Open.
type Tally struct {
	o     Options
	pulls *pulls

	mu        sync.Mutex
	calendar  calendar
	since     time.Time
	upstreams map[string]*upstream
	images    catalog

	// The rest is of Count's goroutine.
	// dirty says that something was counted that is not in the file.
	dirty bool
	place accesslog.Position // that At was told last
	kept  accesslog.Position // that is in the file
	tried time.Time          // when it was last written, or not
	fails bool               // says that the last try failed
}

func empty(o Options) *Tally {
	return &Tally{
		o: o, pulls: newPulls(o.Listed), calendar: calendar{zone: time.Local},
		since: time.Now().Truncate(time.Second), upstreams: map[string]*upstream{}, images: catalog{},
	}
}

// Count counts a record if it is one of those that status.Tally is about. What
// is said to be of the future, by a clock that was wrong, is of now, and what a
// clock said that was not set yet is left out.
func (t *Tally) Count(r accesslog.Record) {
	if r.Upstream == "" || len(r.Upstream) > maxPath || r.Kind != "manifests" && r.Kind != "blobs" {
		return
	}
	if strings.HasPrefix(r.UserAgent, accesslog.WarmAgent) {
		return // nobody has pulled anything
	}
	now := time.Now()
	if r.Time.After(now) {
		r.Time = now
	}
	if r.Time.Unix() < earliest {
		return
	}
	one, got := tallyOf(r)
	image, pulled := t.pulls.pull(r)
	if !got && !pulled {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = true
	t.calendar.turn(r.Time)
	if got {
		t.upstream(r.Upstream).add(t.calendar.hour, one, now.Unix())
	}
	if pulled {
		t.images.add(image, r.Time.UnixMilli(), t.calendar.day)
	}
}

// tallyOf is what one record adds, if anything. What the cache has of its own,
// and nowhere else from, is neither a hit nor a miss.
func tallyOf(r accesslog.Record) (one status.Tally, ok bool) {
	if r.Method != http.MethodGet || r.Cache == accesslog.Local {
		return one, false
	}
	one.Requests = 1
	switch {
	case r.Status == http.StatusOK, r.Status == http.StatusPartialContent:
		one.Sent = max(0, r.Bytes)
		if hit(r.Cache) {
			one.Hits, one.Saved = 1, one.Sent
		}
	case r.Status == http.StatusNotModified:
		one.Hits = 1
	case r.Status/100 == 5:
		one.Failed = 1
	default:
		return one, false
	}
	return one, true
}

func hit(s accesslog.CacheStatus) bool {
	switch s {
	case accesslog.Hit, accesslog.Revalidated, accesslog.Stale, accesslog.Collapsed:
		return true
	}
	return false
}
