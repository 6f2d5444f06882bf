package cleaner

import (
	"context"
	"math"
	"strings"
	"time"

	"registrycache/config"
	"registrycache/images"
)

// youngAge is how long a blob is left alone after it landed: who fetched it
// may not have linked it yet, nor fetched the rest of the image.
const youngAge = time.Minute

// wrongClock is how far ahead of a survey a blob can't have landed: more than a
// survey takes. One that says so would be too new for as long as a clock was
// wrong, which may be years.
const wrongClock = 24 * time.Hour

// survey is one look at all of the store.
type survey struct {
	usage
	*images.Inventory
	now time.Time
	// fills are the bytes of blobs on their way in.
	fills int64
	// pinned are the bytes that stay for being so.
	pinned int64
}

// take adds up what the store holds.
func take(ctx context.Context, store *images.Store, now time.Time) (*survey, error) {
	v, err := store.Take(ctx)
	if err != nil {
		return nil, err
	}
	s := &survey{Inventory: v, now: now}
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, b := range v.Blobs {
		s.bytes += b.Allocated
		oldest, newest = min(oldest, b.Used), max(newest, b.Used)
	}
	if s.blobs = len(v.Blobs); s.blobs > 0 {
		s.oldest, s.newest = when(oldest), when(newest)
	}
	if s.fills, err = store.FillBytes(ctx); err != nil {
		return nil, err
	}
	s.bytes += s.fills
	return s, nil
}

// plan finds out what may go. young are the bytes of what may not go yet.
func (s *survey) plan(ctx context.Context, set config.Cleaner) (p *plan, young int64, err error) {
	if err := s.Relate(ctx); err != nil {
		return nil, 0, err
	}
	p = &plan{needs: s.Needs, taken: s.now.UnixNano(), blobs: make([]blob, len(s.Blobs))}
	for i, b := range s.Blobs {
		p.blobs[i] = blob{b.Allocated, b.Used}
	}
	if err := s.keep(p, set); err != nil {
		return nil, 0, err
	}
	before, after := s.now.Add(-youngAge).UnixNano(), s.now.Add(wrongClock).UnixNano()
	for i, b := range s.Blobs {
		if b.Landed > before && b.Landed < after {
			young += b.Allocated
			p.keep(int32(i))
		}
	}
	if len(set.Quotas) > 0 {
		err = s.divide(ctx, p, set.Quotas)
	}
	return p, young, err
}

// keep marks what is pinned, and what manifests need that have just landed.
func (s *survey) keep(p *plan, set config.Cleaner) error {
	for _, i := range s.Wanted {
		p.keep(i)
	}
	pins := parsePins(set.Pins)
	for first := 0; first < len(s.Links); {
		repo := s.Repositories[s.Links[first].Repository]
		end := first
		for end < len(s.Links) && s.Links[end].Repository == s.Links[first].Repository {
			end++
		}
		before := p.keptBytes
		all, tags := pins.of(repo)
		if all {
			for _, l := range s.Links[first:end] {
				p.keep(l.Blob)
			}
		} else if len(tags) > 0 {
			if err := s.keepTagged(p, repo, tags); err != nil {
				return err
			}
		}
		s.pinned += p.keptBytes - before
		first = end
	}
	return nil
}

func (s *survey) keepTagged(p *plan, repo string, tags tagPatterns) error {
	named, err := s.Tagged(repo)
	for _, t := range named {
		if tags.match(t.Name) {
			p.keep(t.Blob)
		}
	}
	return err
}

// divide finds out what each upstream has for itself.
func (s *survey) divide(ctx context.Context, p *plan, quotas []config.Quota) error {
	p.owner = make([]uint16, len(s.Blobs))
	p.quota = []int{-1} // of nobody
	owners := map[string]uint16{}
	ownerOf := func(path string) uint16 {
		owner, known := owners[path]
		if !known && len(p.quota) < several {
			owner = uint16(len(p.quota))
			owners[path] = owner
			p.quota = append(p.quota, -1)
		}
		return owner
	}
	for i, q := range quotas {
		p.quota[ownerOf(q.Path)] = i
	}
	for _, l := range s.Links {
		p.own(l.Blob, ownerOf(upstreamOf(s.Repositories[l.Repository])))
	}
	p.inherit()
	for _, q := range quotas {
		owner := ownerOf(q.Path)
		if err := s.Layers(ctx, q.Path, func(i int32) { p.own(i, owner) }); err != nil {
			return err
		}
	}
	s.upstreams = make([]int64, len(quotas))
	for i, b := range s.Blobs {
		if q := p.quotaOf(int32(i)); q >= 0 {
			s.upstreams[q] += b.Allocated
		}
	}
	return nil
}

// upstreamOf is the first part of a repository's name.
func upstreamOf(repo string) string {
	first, _, _ := strings.Cut(repo, "/")
	return first
}
