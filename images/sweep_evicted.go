package images

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// SweepEvicted is a Sweep that costs as much as was evicted, not as the store
// holds: it looks only where the inventory, which Relate must have completed,
// says that links to the blobs are which gone names by their place. A link
// from a repository that has lost its own manifest with the blob before is
// left to Sweep.
func (v *Inventory) SweepEvicted(ctx context.Context, gone []bool, o Sweeping) (Swept, error) {
	p := parallelSweep{store: v.store, options: o, mayBeGone: func(d digest.Digest) bool {
		i, known := v.Find(d)
		return known && gone[i]
	}}
	p.group, p.ctx = errgroup.WithContext(ctx)
	p.group.SetLimit(max(4, runtime.GOMAXPROCS(0)))
	found := make([]bool, len(gone))
	for first := 0; first < len(v.Links); {
		id := v.Links[first].Repository
		var manifests []int32
		for ; first < len(v.Links) && v.Links[first].Repository == id; first++ {
			if m := v.Links[first].Blob; gone[m] {
				manifests = append(manifests, m)
				found[m] = true
				for _, n := range v.NeedsOf(m) {
					found[n.To] = true
				}
			}
		}
		if repo := v.Repositories[id]; len(manifests) > 0 && !inside(repo, o.Hosted) {
			p.run(func(w *sweeper) error { return w.evicted(v, gone, repo, manifests) })
		}
	}
	for i := range gone {
		if gone[i] && !found[i] {
			p.looseLayers()
			break
		}
	}
	err := p.group.Wait()
	return p.swept, err
}

// inside says whether a repository's name begins with the part first.
func inside(repo, first string) bool {
	return first != "" && len(repo) >= len(first) && repo[:len(first)] == first && (len(repo) == len(first) || repo[len(first)] == '/')
}

// parallelSweep sweeps several repositories at once.
type parallelSweep struct {
	store     *Store
	options   Sweeping
	mayBeGone func(digest.Digest) bool
	group     *errgroup.Group
	ctx       context.Context // of group

	mu    sync.Mutex
	swept Swept
}

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
		return err
	})
}

// looseLayers looks for links to layers that no manifest led to: there is no
// telling which repository had them.
func (p *parallelSweep) looseLayers() {
	p.group.Go(func() error {
		var repos []string
		err := p.store.walkRepositories(p.ctx, "", func(repo string) error {
			if !inside(repo, p.options.Hosted) {
				repos = append(repos, repo)
			}
			return nil
		})
		if err != nil {
			return err
		}
		w := sweeper{ctx: p.ctx, store: p.store, before: p.options.Before, mayBeGone: p.mayBeGone}
		for _, repo := range repos {
			path := filepath.Join(p.store.repoDir(repo), string(Layer))
			if gone, err := w.digests(w.link)(path); err != nil {
				return err
			} else if gone {
				w.prune(filepath.Dir(path))
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.swept.add(w.swept)
		return nil
	})
}

// evicted drops the links of one repository to manifests that are gone, and to
// what they needed and is gone too, and the tags.
func (w *sweeper) evicted(v *Inventory, gone []bool, repo string, manifests []int32) error {
	parents := map[string]bool{}
	drop := func(k Kind, blob int32) error {
		d := v.Digest(blob)
		path := filepath.Dir(v.store.linkPath(repo, k, d))
		_, err := w.link(path, d)
		parents[filepath.Dir(path)] = true
		return err
	}
	for _, m := range manifests {
		if err := drop(Manifest, m); err != nil {
			return err
		}
		for _, n := range v.NeedsOf(m) {
			if gone[n.To] {
				if err := drop(Layer, n.To); err != nil {
					return err
				}
			}
		}
	}
	dir := filepath.Join(v.store.repoDir(repo), "_manifests")
	if _, err := w.each(filepath.Join(dir, "tags"), all(w.tag)); err != nil {
		return err
	}
	parents[dir] = true
	for path := range parents {
		w.prune(path)
	}
	return w.ctx.Err()
}

// prune removes a directory if it is empty, and those above it if that makes
// them empty, but for the one of all repositories.
func (w *sweeper) prune(path string) {
	for top := w.store.repoDir(""); path != top && os.Remove(path) == nil; path = filepath.Dir(path) {
		w.swept.Dirs++
	}
}
