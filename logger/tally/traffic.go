package tally

import (
	"cmp"
	"slices"
	"time"

	"registrycache/status"
)

// Traffic is what was counted up to now, in the terms of the whole cache.
func (t *Tally) Traffic() *status.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	today := calendar{zone: t.calendar.zone}
	today.turn(now)
	midnight, first := today.midnight(now), today.hour-(weekHours-1)*hourSeconds
	traffic := &status.Traffic{
		Since: t.since, Upstreams: []status.UpstreamTraffic{}, Hours: make([]status.Hour, weekHours),
		Busiest: t.images.busiest(today.day), Newest: t.images.newest(today.day),
	}
	for i := range traffic.Hours {
		traffic.Hours[i].Begin = time.Unix(first+int64(i)*hourSeconds, 0)
	}
	for path, u := range t.upstreams {
		one := status.UpstreamTraffic{Path: path, Total: u.total}
		for _, h := range u.hours {
			// In whole hours from the first, also where the zone changed by half
			// an hour since.
			i := floor(h.begin-first, hourSeconds)
			if i < 0 || i >= weekHours {
				continue
			}
			traffic.Hours[i].Add(h.Tally)
			one.Week.Add(h.Tally)
			if h.begin >= midnight {
				one.Today.Add(h.Tally)
			}
		}
		traffic.Upstreams = append(traffic.Upstreams, one)
	}
	slices.SortFunc(traffic.Upstreams, func(a, b status.UpstreamTraffic) int { return cmp.Compare(a.Path, b.Path) })
	return traffic
}
