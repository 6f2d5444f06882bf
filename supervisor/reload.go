package supervisor

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"registrycache/config"
)

// linger is how long the worker of a removed upstream goes on after the router
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

// changes are what is different in the upstreams of two configurations.
type changes struct {
	added, changed []config.Upstream // as they are now
	removed        []config.Upstream // as they were
}

func compare(old, next *config.Config) changes {
	before := map[string]config.Upstream{}
	for _, u := range old.Upstreams {
		before[u.Path] = u
	}
	var c changes
	for _, u := range next.Upstreams {
		was, known := before[u.Path]
		delete(before, u.Path)
		switch {
		case !known:
			c.added = append(c.added, u)
		case !reflect.DeepEqual(old.Worker(was), next.Worker(u)):
			c.changed = append(c.changed, u)
		}
	}
	for _, u := range old.Upstreams {
		if _, left := before[u.Path]; left {
			c.removed = append(c.removed, u)
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
	upstreams := compare(s.cfg, next)
	opened, err := openWorkers(next, upstreams.added)
	if err != nil {
		return err
	}
	for _, u := range upstreams.added {
		p := s.newWorker(next, u, opened[u.Path])
		s.mu.Lock()
		s.workers[u.Path] = p
		s.mu.Unlock()
		go p.run()
	}
	for _, u := range upstreams.changed {
		s.workers[u.Path].set(next.Worker(u))
	}
	// New routes come after the sockets they lead to, and removed ones go
	// before their workers.
	tell(s.router, s.cfg.Router(), next.Router())
	tell(s.logger, s.cfg.Logger(), next.Logger())
	tell(s.cleaner, s.cfg.Cleaner, next.Cleaner)
	for _, u := range upstreams.removed {
		s.remove(u.Path)
	}
	s.log.Info().Strs("added", names(upstreams.added)).Strs("changed", names(upstreams.changed)).
		Strs("removed", names(upstreams.removed)).Msg("configuration reloaded")
	for _, notice := range next.Notices {
		if !slices.Contains(s.cfg.Notices, notice) {
			s.log.Warn().Msg(notice)
		}
	}
	s.cfg = next
	return nil
}

func tell[T any](p *process, old, next T) {
	if !reflect.DeepEqual(old, next) {
		p.set(next)
	}
}

// remove ends the worker at path once the router has no more use for it.
func (s *supervisor) remove(path string) {
	p := s.workers[path]
	s.mu.Lock()
	delete(s.workers, path)
	s.mu.Unlock()
	s.leaving.Go(func() {
		select {
		case <-time.After(linger):
		case <-s.routerDone:
		}
		stop(p)
	})
}

func names(upstreams []config.Upstream) []string {
	list := make([]string, 0, len(upstreams))
	for _, u := range upstreams {
		list = append(list, u.Name)
	}
	return list
}
