package images

import (
	"context"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// parallelSweep sweeps several directories at once.
type parallelSweep struct {
	ctx       context.Context
	store     *Store
	options   Sweeping
	mayBeGone func(digest.Digest) bool
	group     errgroup.Group

	mu    sync.Mutex
	swept Swept
	// failure is the first there was. What could not be swept is no reason to
	// leave the rest.
	failure error
	// removed are the repositories whose directories are gone.
	removed map[string]bool
}

func newParallelSweep(ctx context.Context, s *Store, o Sweeping, mayBeGone func(digest.Digest) bool) *parallelSweep {
	p := &parallelSweep{ctx: ctx, store: s, options: o, mayBeGone: mayBeGone, removed: map[string]bool{}}
	// More than processors: on a cold store they mostly wait for the disk.
	p.group.SetLimit(max(4, runtime.GOMAXPROCS(0)))
	return p
}

// run has work done beside others.
func (p *parallelSweep) run(work func(*sweeper) error) {
	p.group.Go(func() error {
		w := sweeper{ctx: p.ctx, store: p.store, before: p.options.Before, mayBeGone: p.mayBeGone}
		err := p.ctx.Err()
		if err == nil {
			err = work(&w)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.swept.add(w.swept)
		if p.failure == nil {
			p.failure = err
		}
		return nil
	})
}

// wait returns what was swept once all is done.
func (p *parallelSweep) wait(err error) (Swept, error) {
	_ = p.group.Wait() // which has no error to tell
	if p.failure != nil {
		err = p.failure
	}
	// What was above a repository that is gone may be empty now.
	w := sweeper{store: p.store}
	for repo := range p.removed {
		w.prune(filepath.Dir(p.store.repoDir(repo)))
	}
	p.swept.add(w.swept)
	return p.swept, err
}

// each calls work for every repository.
func (p *parallelSweep) each(work func(w *sweeper, path string) (gone bool, err error)) error {
	var repos []string
	err := p.store.walkRepositories(p.ctx, "", func(repo string) error {
		repos = append(repos, repo)
		return nil
	})
	for _, repo := range repos {
		p.run(func(w *sweeper) error {
			gone, err := work(w, p.store.repoDir(repo))
			if gone {
				p.mu.Lock()
				p.removed[repo] = true
				p.mu.Unlock()
			}
			return err
		})
	}
	return err
}

// repositories sweeps all of each.
func (p *parallelSweep) repositories() error {
	return p.each((*sweeper).repository)
}

// layers looks for links to layers.
func (p *parallelSweep) layers() error {
	return p.each(func(w *sweeper, path string) (bool, error) {
		gone, err := w.digests(w.link)(filepath.Join(path, string(Layer)))
		if !gone || err != nil {
			return false, err
		}
		return w.empty(path, true), nil
	})
}

// prune removes a directory if it is empty, and those above it if that makes
// them empty, but for the one of all repositories.
func (w *sweeper) prune(path string) {
	for top := w.store.repoDir(""); path != top && unix.Rmdir(path) == nil; path = filepath.Dir(path) {
		w.swept.Dirs++
	}
}
