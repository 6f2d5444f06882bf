package tally

import (
	"cmp"
	"maps"
	"slices"

	"registrycache/status"
)

const (
	// maxUpstreams bounds those that are remembered, also after they left the
	// configuration. The one without traffic for longest is forgotten first.
	maxUpstreams = 256
	// maxPath bounds the path of one in bytes: it is a host name, or short.
	maxPath = 300
	// forgetAfter is how long an upstream without traffic is remembered.
	forgetAfter = 90 * daySeconds
	// maxHours bounds the hours of an upstream when clocks were wrong.
	maxHours = 2 * weekHours
)

// upstream is the traffic of one.
type upstream struct {
	total status.Tally
	// last is the begin of the last hour with traffic.
	last int64
	// hours are those with traffic within a week, oldest first. A clock that
	// was ahead leaves some of the future.
	hours []hour
}

type hour struct {
	begin int64 // in seconds since 1970
	status.Tally
}

// upstream returns the one with that path, which it makes if need be.
func (t *Tally) upstream(path string) *upstream {
	u := t.upstreams[path]
	if u == nil {
		if len(t.upstreams) >= maxUpstreams {
			t.forgetUpstream()
		}
		u = &upstream{}
		t.upstreams[path] = u
	}
	return u
}

// forgetIdle forgets those without traffic for long.
func (t *Tally) forgetIdle(now int64) {
	maps.DeleteFunc(t.upstreams, func(_ string, u *upstream) bool { return u.last < now-forgetAfter })
}

func (t *Tally) forgetUpstream() {
	oldest := ""
	for path, u := range t.upstreams {
		if oldest == "" || cmp.Or(cmp.Compare(u.last, t.upstreams[oldest].last), cmp.Compare(path, oldest)) < 0 {
			oldest = path
		}
	}
	delete(t.upstreams, oldest)
}

// add counts in the hour that begins then. Records come nearly in order; what
// is older than a week is in the total alone.
func (u *upstream) add(begin int64, one status.Tally, now int64) {
	u.total.Add(one)
	u.last = max(u.last, begin)
	if begin <= now-weekHours*hourSeconds {
		return
	}
	i := len(u.hours)
	for i > 0 && u.hours[i-1].begin > begin {
		i--
	}
	if i > 0 && u.hours[i-1].begin == begin {
		u.hours[i-1].Add(one)
		return
	}
	u.hours = slices.Insert(u.hours, i, hour{begin, one})
	u.prune(now)
}

// prune drops hours that are a week before now, and the oldest of too many.
func (u *upstream) prune(now int64) {
	old := 0
	for old < len(u.hours) && (u.hours[old].begin <= now-weekHours*hourSeconds || len(u.hours)-old > maxHours) {
		old++
	}
	u.hours = slices.Delete(u.hours, 0, old)
}
