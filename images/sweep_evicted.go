package images

import (
	"context"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// SweepEvicted is a Sweep that costs as much as was evicted, not as the store
// holds: it looks only where the inventory, which Relate must have completed,
// says that links to the blobs are which gone names by their place. A link
// from a repository that has lost its own manifest with the blob before is
// left to Sweep.
func (v *Inventory) SweepEvicted(ctx context.Context, gone []bool, o Sweeping) (Swept, error) {
	p := newParallelSweep(ctx, v.store, o, func(d digest.Digest) bool {
		i, known := v.Find(d)
		return known && gone[i]
	})
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
		if repo := v.Repositories[id]; len(manifests) > 0 {
			p.run(func(w *sweeper) error { return w.evicted(v, gone, repo, manifests) })
		}
	}
	var err error
	for i := range gone {
		if gone[i] && !found[i] {
			// No manifest led to it: there is no telling which repository had it.
			err = p.layers()
			break
		}
	}
	return p.wait(err)
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
