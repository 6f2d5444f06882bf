package images

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
)

// nameFinder tells which images need a blob, as far as the store can tell.
type nameFinder struct {
	inventory *Inventory
	// needed are Inventory.Needs, by To.
	needed []Need
	tags   map[string][]TaggedManifest
}

// newNameFinder finds no names when the store can't be walked.
func newNameFinder(ctx context.Context, s *Store) *nameFinder {
	f := &nameFinder{tags: map[string][]TaggedManifest{}}
	v, err := s.Take(ctx)
	if err == nil {
		err = v.Relate(ctx)
	}
	if err != nil {
		return f
	}
	f.inventory, f.needed = v, slices.Clone(v.Needs)
	slices.SortFunc(f.needed, func(a, b Need) int { return int(a.To) - int(b.To) })
	return f
}

// of returns the names of the images that need a blob: repository:tag for each
// tag, or repository@digest.
func (f *nameFinder) of(d digest.Digest) []string {
	names := []string{} // not null in JSON
	if f.inventory == nil {
		return names
	}
	i, here := f.inventory.Find(d)
	if !here {
		return names
	}
	above := []int32{i}
	tops := map[int32]bool{}
	for seen := map[int32]bool{i: true}; len(above) > 0; above = above[1:] {
		first, _ := slices.BinarySearchFunc(f.needed, above[0], func(n Need, to int32) int { return int(n.To) - int(to) })
		end := first
		for ; end < len(f.needed) && f.needed[end].To == above[0]; end++ {
			if from := f.needed[end].From; !seen[from] {
				seen[from] = true
				above = append(above, from)
			}
		}
		tops[above[0]] = end == first
	}
	for _, l := range f.inventory.Links {
		if top, needs := tops[l.Blob]; needs {
			names = append(names, f.namesIn(f.inventory.Repositories[l.Repository], l.Blob, top)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namesIn are the names of a manifest in a repository. One that no tag names
// goes by its digest if nothing else leads to it.
func (f *nameFinder) namesIn(repo string, manifest int32, top bool) (names []string) {
	tags, known := f.tags[repo]
	if !known {
		tags, _ = f.inventory.Tagged(repo)
		f.tags[repo] = tags
	}
	for _, t := range tags {
		if t.Blob == manifest {
			names = append(names, repo+":"+t.Name)
		}
	}
	if len(names) == 0 && top {
		names = append(names, repo+"@"+f.inventory.Digest(manifest).String())
	}
	return names
}
