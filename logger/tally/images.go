package tally

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"registrycache/status"
)

const (
	// maxImages bounds those that are remembered, some 200 bytes each. They are
	// remembered also when nobody pulls them any more, as that is what tells a
	// new one.
	maxImages = 3000
	// maxListed is how many the busiest are, and the newest.
	maxListed = 20
	// maxName bounds a name in bytes: more than any registry takes.
	maxName = 600
)

// name of an image: the repository, and a tag or a digest.
type name struct{ repository, reference string }

func (n name) String() string {
	if isDigest(n.reference) {
		return n.repository + "@" + n.reference
	}
	return n.repository + ":" + n.reference
}

// isDigest tells a reference from a tag, which has no colon.
func isDigest(reference string) bool { return strings.IndexByte(reference, ':') >= 0 }

// image is how often one was pulled.
type image struct {
	first, last int64 // in milliseconds since 1970
	// day is the last with a pull; pulls are those of the week up to it, each
	// day in its place.
	day   int64
	pulls [weekDays]uint32
}

func (i *image) add(at, day int64) {
	i.first, i.last = min(i.first, at), max(i.last, at)
	if day > i.day+weekDays {
		i.day = day - weekDays
		i.pulls = [weekDays]uint32{}
	}
	for i.day < day {
		i.day++
		*i.on(i.day) = 0
	}
	if day > i.day-weekDays {
		*i.on(day)++
	}
}

func (i *image) on(day int64) *uint32 { return &i.pulls[((day%weekDays)+weekDays)%weekDays] }

// week is how often it was pulled in the week up to a day.
func (i *image) week(day int64) (pulls int64) {
	for d := max(i.day, day) - weekDays + 1; d <= min(i.day, day); d++ {
		pulls += int64(*i.on(d))
	}
	return pulls
}

// catalog is the images that are remembered.
type catalog map[name]*image

func (c catalog) add(n name, at, day int64) {
	if len(n.repository)+len(n.reference) > maxName {
		return
	}
	i := c[n]
	if i == nil {
		if len(c) >= maxImages {
			c.forget(day)
		}
		i = &image{first: at, last: at, day: day}
		c[n] = i
	}
	i.add(at, day)
}

// forget makes room for a while: a quarter goes of those that were pulled
// least, those longest ago first. The newest stay, as they are shown.
func (c catalog) forget(day int64) {
	stay := map[name]bool{}
	for _, e := range c.first(day, newest) {
		stay[e.name] = true
	}
	rest := make([]entry, 0, len(c))
	for n, i := range c {
		if !stay[n] {
			rest = append(rest, entry{n, i, i.week(day)})
		}
	}
	slices.SortFunc(rest, busiest)
	for _, e := range rest[len(rest)-len(rest)/4:] {
		delete(c, e.name)
	}
}

// entry is an image and how often it was pulled within a week.
type entry struct {
	name
	*image
	pulls int64
}

// first are those that come first in an order, as many as are shown.
func (c catalog) first(day int64, order func(a, b entry) int) []entry {
	best := make([]entry, 0, maxListed+1)
	for n, i := range c {
		e := entry{n, i, i.week(day)}
		if len(best) == maxListed && order(best[maxListed-1], e) < 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, e, order)
		best = slices.Insert(best, at, e)
		best = best[:min(len(best), maxListed)]
	}
	return best
}

// newest orders by the first pull, last first.
func newest(a, b entry) int {
	return cmp.Or(cmp.Compare(b.first, a.first), cmp.Compare(b.last, a.last), byName(a, b))
}

// busiest orders by pulls, most first.
func busiest(a, b entry) int {
	return cmp.Or(cmp.Compare(b.pulls, a.pulls), cmp.Compare(b.last, a.last), byName(a, b))
}

func byName(a, b entry) int {
	return cmp.Or(strings.Compare(a.repository, b.repository), strings.Compare(a.reference, b.reference))
}

// busiest and newest are what is shown.
func (c catalog) busiest(day int64) []status.Image {
	best := c.first(day, busiest)
	if idle := slices.IndexFunc(best, func(e entry) bool { return e.pulls == 0 }); idle >= 0 {
		best = best[:idle]
	}
	return shown(best)
}

func (c catalog) newest(day int64) []status.Image { return shown(c.first(day, newest)) }

func shown(list []entry) []status.Image {
	images := make([]status.Image, 0, len(list))
	for _, e := range list {
		images = append(images, status.Image{
			Name: e.String(), Pulls: e.pulls, First: time.UnixMilli(e.first), Last: time.UnixMilli(e.last),
		})
	}
	return images
}
