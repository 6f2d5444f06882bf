package supervisor

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"registrycache/config"
)

// linger is how long a removed worker goes on after the router
// was told, so that requests that the router has already sent on its way are
// answered. The router takes new routes within milliseconds.
const linger = time.Second

// reload reads the configuration, makes the processes follow it, and watches
// the files that it is from. If that fails everything stays as it was.
func (s *supervisor) reload(files *watcher) {
	next, err := s.opt.Load()
	if err == nil {
		err = s.apply(next)
	}
	if err != nil {
		for _, mistake := range mistakes(err) {
			s.log.Error().Err(mistake).Msg("configuration not reloaded")
		}
		s.log.Error().Msg("the new configuration can't be used, the earlier one stays")
		return
	}
	files.follow(next.Watch)
}

// mistakes returns the errors that err is made of.
func mistakes(err error) []error {
	var several interface{ WrappedErrors() []error } // hashicorp/go-multierror
	if errors.As(err, &several) {
		return several.WrappedErrors()
	}
	return []error{err}
}

// changes are what is different in the workers of two configurations.
type changes struct {
	added, changed []worker // as they are now
	removed        []worker // as they were
}

func compare(old, next *config.Config) changes {
	before := map[string]worker{}
	for _, w := range workersOf(old) {
		before[w.key] = w
	}
	var c changes
	for _, w := range workersOf(next) {
		was, known := before[w.key]
		delete(before, w.key)
		switch {
		case !known:
			c.added = append(c.added, w)
		case !reflect.DeepEqual(was, w):
			c.changed = append(c.changed, w)
		}
	}
	for _, w := range workersOf(old) {
		if _, left := before[w.key]; left {
			c.removed = append(c.removed, w)
		}
	}
	return c
}

// apply makes the processes follow next. It fails only before it changes
// anything.
func (s *supervisor) apply(next *config.Config) error {
	if reflect.DeepEqual(s.cfg, next) {
		s.log.Debug().Msg("the configuration is what it was")
		return nil
	}
	workers := compare(s.cfg, next)
	opened, err := openWorkers(workers.added)
	if err != nil {
		return err
	}
	for _, w := range workers.added {
		p := s.newWorker(w, opened[w.key])
		s.mu.Lock()
		s.workers[w.key] = p
		s.mu.Unlock()
		go p.run()
	}
	for _, w := range workers.changed {
		s.workers[w.key].set(w.settings)
	}
	// New routes come after the sockets they lead to, and removed ones go
	// before their workers.
	tell(s.router, s.cfg.Router(), next.Router())
	tell(s.logger, s.cfg.Logger(), next.Logger())
	tell(s.cleaner, s.cfg.Cleaner, next.Cleaner)
	for _, w := range workers.removed {
		s.remove(w.key)
	}
	s.log.Info().Strs("added", names(workers.added)).Strs("changed", names(workers.changed)).
		Strs("removed", names(workers.removed)).Msg("configuration reloaded")
	for _, notice := range next.Notices {
		if !slices.Contains(s.cfg.Notices, notice) {
			s.log.Warn().Msg(notice)
		}
	}
	s.mu.Lock()
	s.cfg = next
	s.mu.Unlock()
	return nil
}

func tell[T any](p *process, old, next T) {
	if !reflect.DeepEqual(old, next) {
		p.set(next)
	}
}

// remove ends a worker once the router has no more use for it.
func (s *supervisor) remove(key string) {
	p := s.workers[key]
	s.mu.Lock()
	delete(s.workers, key)
	s.mu.Unlock()
	s.leaving.Go(func() {
		select {
		case <-time.After(linger):
		case <-s.routerDone:
		}
		stop(p)
	})
}

func names(workers []worker) []string {
	list := make([]string, 0, len(workers))
	for _, w := range workers {
		list = append(list, w.of)
	}
	return list
}
