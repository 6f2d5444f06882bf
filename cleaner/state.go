package cleaner

import (
	"context"
	"errors"
	"sync"
	"time"

	"registrycache/config"
	"registrycache/status"
)

// state is what a cleaner that Runs says of the store, to whoever asks and
// whenever. One that does not Run has none.
type state struct {
	mu       sync.Mutex
	settings config.Cleaner
	// known is all but what follows from the settings.
	known status.Store
	// quotas are what upstreams took that have one, by path.
	quotas map[string]int64
}

// store is the answer.
func (s *state) store() *status.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.known
	store.MinFree = minFree(s.settings, store.DiskSize)
	if s.settings.MaxSize > 0 {
		store.Limit, store.Start = s.settings.MaxSize, Threshold(s.settings.MaxSize, s.settings.ThresholdPercent)
	}
	for _, q := range s.settings.Quotas {
		store.Quotas = append(store.Quotas, status.Quota{Path: q.Path, Used: s.quotas[q.Path], Limit: q.MaxSize})
	}
	return &store
}

// change makes a change of which an answer has all or nothing.
func (s *state) change(f func(known *status.Store)) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.known)
}

// set says which settings hold.
func (s *state) set(settings config.Cleaner) {
	s.change(func(*status.Store) { s.settings = settings })
}

// surveyed says what a walk found.
func (s *state) surveyed(u usage, now time.Time) {
	s.change(func(known *status.Store) {
		known.Used, known.Time, known.DiskFree, known.DiskSize = u.bytes, now, u.disk.Free, u.disk.Size
	})
}

// estimated says what the store takes as far as can be told without a walk,
// which is nothing before the first.
func (s *state) estimated(u usage, now time.Time) {
	s.change(func(known *status.Store) {
		known.DiskFree, known.DiskSize = u.disk.Free, u.disk.Size
		if !known.Time.IsZero() {
			known.Used, known.Time = u.bytes, now
		}
	})
}

// evicted says that so many bytes went since.
func (s *state) evicted(bytes int64) {
	s.change(func(known *status.Store) {
		known.Used -= bytes
		known.DiskFree += bytes
	})
}

// began and ended say that a clean is under way, or what it did.
func (s *state) began() {
	s.change(func(known *status.Store) { known.Running, known.Next = true, time.Time{} })
}

func (s *state) ended(o outcome, now time.Time) {
	s.change(func(known *status.Store) {
		known.Running = false
		if len(o.report.Quotas) > 0 {
			s.quotas = map[string]int64{}
			for _, q := range o.report.Quotas {
				s.quotas[q.Path] = q.Size
			}
		}
		if clean := cleanOf(o); clean != nil {
			clean.Time = now
			known.Last = clean
		}
	})
}

// next says when the next clean is due.
func (s *state) next(due time.Time) {
	s.change(func(known *status.Store) { known.Next = due })
}

// cleanOf is nil for a look that found nothing to do, or was broken off.
func cleanOf(o outcome) *status.Clean {
	r := o.report
	clean := &status.Clean{
		Took: status.Seconds(r.Took), Before: r.Before, After: r.After, Images: len(r.Images), Blobs: r.Blobs,
		Missing: r.Missing, Error: r.Failure,
	}
	switch {
	case errors.Is(o.err, context.Canceled):
		return nil
	case o.err != nil:
		clean.Error = o.err.Error()
	case r.Blobs == 0 && r.Missing == 0:
		return nil
	}
	return clean
}
