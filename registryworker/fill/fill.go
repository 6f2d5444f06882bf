package fill

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/images"
)

// fill brings one blob into the store. It is in the engine's map from its start
// until the blob is stored and linked, or given up: who comes in between joins.
type fill struct {
	engine  *Engine
	digest  digest.Digest
	started time.Time
	// repository is the one that asked first, upstream included.
	repository string

	// The engine's lock guards what follows.

	// members are the repositories that the upstream gives the blob to.
	members map[string]Source
	// current is the try that newcomers follow.
	current *transfer
}

func newFill(e *Engine, repo string, d digest.Digest, src Source) *fill {
	f := &fill{engine: e, digest: d, started: time.Now(), repository: repo, members: map[string]Source{repo: src}}
	f.current = newTransfer(f)
	return f
}

// source returns the source to use for a request after so many failures: they
// may be those of one repository's.
func (f *fill) source(failures int) Source {
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	repos := slices.Sorted(maps.Keys(f.members))
	return f.members[repos[failures%len(repos)]]
}

// run sees the fill through all its tries.
func (f *fill) run() {
	m := f.engine.metrics
	m.started.Inc()
	m.running.Inc()
	defer m.running.Dec()

	again := chances{wrongDigest: 1, changed: 1, damaged: 3}
	for t := f.current; t != nil; {
		var next *transfer
		switch err := t.run(); {
		case err == nil:
			f.keep(t)
		case again.after(t, err):
			next = f.restart(t, err)
		default:
			f.giveUp(t, err)
		}
		t.release()
		t = next
	}
}

// chances are how often a try may follow another.
type chances struct{ wrongDigest, changed, damaged int }

// after says whether the outcome of t deserves another try, from the start.
func (c *chances) after(t *transfer, err error) bool {
	switch {
	case errors.Is(err, errChanged):
		c.changed--
		return c.changed >= 0
	case errors.Is(err, ErrWrongDigest) && t.resumed > 0:
		// What an earlier process left was damaged, as by power loss. The next
		// try has nothing of it, unless it can't be removed or another process
		// left more.
		c.damaged--
		return c.damaged >= 0
	case errors.Is(err, ErrWrongDigest):
		c.wrongDigest--
		return c.wrongDigest >= 0
	}
	return false
}

// restart ends t and returns its successor, which begins with an empty file.
func (f *fill) restart(t *transfer, err error) *transfer {
	e := f.engine
	f.report(t, err, "fetched again from the start")
	t.discard()
	next := newTransfer(f)
	e.mu.Lock()
	f.current = next
	e.mu.Unlock()
	t.replace(next)
	return next
}

// giveUp ends the fill without a blob.
func (f *fill) giveUp(t *transfer, err error) {
	e := f.engine
	forReaders := err
	_, storeFailed := errors.AsType[*storeError](err)
	switch {
	case errors.Is(err, errStored):
		forReaders = errAgain
		t.discard()
		f.tidy()
	case storeFailed:
		e.health.broken(err)
		e.metrics.failed.Inc()
		t.discard()
	case errors.Is(err, ErrWrongDigest):
		f.report(t, err, "fill given up")
		e.metrics.failed.Inc()
		t.discard()
	default:
		f.report(t, err, "fill given up")
		e.metrics.failed.Inc()
		t.preserve()
	}
	f.remove()
	t.end(forReaders)
}

// report counts and logs why a try ended.
func (f *fill) report(t *transfer, err error, what string) {
	e := f.engine
	level := zerolog.ErrorLevel
	switch {
	case errors.Is(err, ErrClosed):
		level, what = zerolog.InfoLevel, "fill stopped, to go on after the next start"
	case errors.Is(err, ErrWrongDigest) && t.resumed > 0:
		level, what = zerolog.WarnLevel, "what an earlier process left on the disk was damaged: "+what
	case errors.Is(err, ErrWrongDigest):
		e.metrics.wrongDigests.Inc()
	case permanent(err):
		level = zerolog.InfoLevel // the client hears of it
	}
	p := t.progress()
	e.log.WithLevel(level).Err(err).Stringer("digest", f.digest).Str("repository", f.repository).
		Int64("size", p.Size).Int64("have", p.Have).Int64("resumed", p.Resumed).Msg(what)
}

// keep stores the verified blob. Readers need not wait for it: when it fails
// they still have the file.
func (f *fill) keep(t *transfer) {
	e := f.engine
	if err := e.files.commit(t.file, f.digest); err != nil {
		e.health.broken(err)
		e.metrics.failed.Inc()
		t.preserve()
		f.remove()
		return
	}
	t.part.slot.removeState()
	f.tidy()
	e.metrics.completed.Inc()
	if err := f.link(); err != nil {
		e.health.broken(err)
	} else {
		e.health.fine()
	}
	e.log.Debug().Stringer("digest", f.digest).Int64("size", t.knownSize()).
		Int64("resumed", t.resumed).Dur("took", time.Since(f.started)).Msg("blob stored")
}

// tidy removes what others left who did not finish, now that the blob is stored.
func (f *fill) tidy() {
	// What can't be removed now may be later, by Purge.
	_, _ = f.engine.purge(f.digest, time.Now())
}

// remove takes the fill out of the map: who comes from now on starts another.
func (f *fill) remove() {
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	delete(f.engine.fills, f.digest)
}

// link links the stored blob to every member, those that come meanwhile too,
// and then takes the fill out of the map.
func (f *fill) link() error {
	e := f.engine
	linked := make(map[string]bool)
	var failed error
	for {
		var todo []string
		e.mu.Lock()
		for repo := range f.members {
			if !linked[repo] {
				todo = append(todo, repo)
			}
		}
		if len(todo) == 0 {
			delete(e.fills, f.digest)
		}
		e.mu.Unlock()
		if len(todo) == 0 {
			return failed
		}
		for _, repo := range todo {
			linked[repo] = true
			failed = errors.Join(failed, e.store.Link(repo, images.Layer, f.digest))
		}
	}
}
