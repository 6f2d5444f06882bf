package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Target is what is to be removed of a listing: an image with all its tags, or
// some of them.
type Target struct {
	// Image is a place in Listing.Images.
	Image int
	// Tags are those to go; none is all, and the image.
	Tags []string
}

// RemovedTag is a tag that goes.
type RemovedTag struct {
	Repository, Tag string
	Digest          digest.Digest
	// Stays says why the image it names does not go with it, or is empty.
	Stays string
}

// Removal is what goes with targets, and what has gone once it was Run.
type Removal struct {
	Tags []RemovedTag
	// Images go from their repositories.
	Images []Image
	// Freed are blobs that no other image needs.
	Freed Amount
	// Pledged is how many blobs stay for pushes that are under way, or were.
	Pledged int
	// Busy is how many of them were left because they were used meanwhile. The
	// cleaner takes them when nobody does any more.
	Busy int

	listing *Listing
	// used are the Busy ones. They stay linked: the pull that used them may not
	// link them again, as it found them linked.
	used map[int32]bool
	// steps are the blobs to evict, each needed by none of those after it.
	steps [][]int32
	links []goingLink
	// expired are pledges that no longer hold.
	expired []string
}

// goingLink is one that goes from a repository.
type goingLink struct {
	repository string
	blob       int32
	kind       Kind
}

// Run removes what was planned, and corrects the plan where something else
// turned out: a tag that names another image by now stays, and so does what was
// used meanwhile. It may run beside pulls, which fetch again what they need and
// miss, and be killed at any moment: tags go first, then manifests, then what
// these need, and what a kill leaves is of no image, which the cleaner evicts
// in its time.
func (r *Removal) Run(ctx context.Context) error {
	if err := r.removeTags(); err != nil {
		return err
	}
	// Nothing leads a pull to the blobs once the manifests have no links.
	for _, l := range r.links {
		if err := r.unlink(l, Manifest); err != nil {
			return err
		}
	}
	r.Freed, r.used = Amount{}, map[int32]bool{}
	defer func() { r.listing.inventory.store.CountRemoved(r.Freed.Bytes) }()
	for _, blobs := range r.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.evict(blobs); err != nil {
			return err
		}
	}
	for _, l := range r.links {
		if err := r.unlink(l, Layer); err != nil {
			return err
		}
	}
	for _, pledge := range r.expired {
		r.listing.inventory.store.dropPledge(pledge)
	}
	return nil
}

func (r *Removal) removeTags() error {
	store := r.listing.inventory.store
	for i := 0; i < len(r.Tags); {
		t := r.Tags[i]
		d, _, err := store.Tag(t.Repository, t.Tag)
		if err == nil && d != t.Digest {
			r.Tags = slices.Delete(r.Tags, i, i+1)
			continue
		}
		if err := store.RemoveTag(t.Repository, t.Tag); err != nil {
			return fmt.Errorf("remove %s:%s: %w", t.Repository, t.Tag, err)
		}
		i++
	}
	for _, repo := range r.repositories() {
		store.prune(filepath.Join(store.repoDir(repo), "_manifests/tags"))
	}
	return nil
}

// repositories are those that lose something.
func (r *Removal) repositories() (names []string) {
	for _, t := range r.Tags {
		names = append(names, t.Repository)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *Removal) evict(blobs []int32) error {
	v := r.listing.inventory
	for i, err := range v.Evict(blobs) {
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			r.Freed.add(v.Blobs[blobs[i]])
		case errors.Is(err, ErrUsed):
			r.Busy++
			r.used[blobs[i]] = true
		default:
			return err
		}
	}
	return nil
}

// unlink removes a link if it is of the kind.
func (r *Removal) unlink(l goingLink, k Kind) error {
	if l.kind != k || r.used[l.blob] {
		return nil
	}
	v := r.listing.inventory
	return v.store.unlink(l.repository, k, v.Digest(l.blob), v.Taken)
}
