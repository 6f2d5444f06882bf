package images

import (
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is what a repository has under its tags, or under a digest alone: an
// index with those of its images that are here, or one image.
type Image struct {
	// Repository begins with the upstream's path.
	Repository string
	// Tags are sorted. An image that was only pulled by digest has none.
	Tags   []string
	Digest digest.Digest
	// MediaType is empty for what can't be read as a manifest.
	MediaType string
	// Platforms are those that are here, as os/architecture[/variant], sorted.
	// Not every image says which it is for.
	Platforms []string
	// Listed is how many images an index lists and Here how many of them are
	// here; both are 0 for what is no index.
	Listed, Here int
	// Blobs is how many it has, manifests included.
	Blobs int
	// Size is the disk space of its blobs in bytes, and Own is the part of it
	// that no other image needs: what its removal frees.
	Size, Own int64
	// Used is when it, or an index that lists it, was last used. By that the
	// cleaner decides what goes.
	Used time.Time
	// Damaged says that its manifest can't be read as one.
	Damaged bool
	// Missing are the blobs that are not here of what is here, or that the
	// repository may not serve without asking the upstream.
	Missing []digest.Digest

	top int32 // the manifest
}

// Complete says whether all of what is here can be pulled without the upstream.
func (i Image) Complete() bool {
	return !i.Damaged && len(i.Missing) == 0 && (i.Listed == 0 || i.Here > 0)
}

// Amount is a number of blobs and their disk space in bytes.
type Amount struct {
	Blobs int
	Bytes int64
}

func (a *Amount) add(b Held) {
	a.Blobs++
	a.Bytes += b.Allocated
}

// Listing is the images that an inventory holds.
type Listing struct {
	// Images are grouped by repository.
	Images []Image
	// All is what the store holds, but for what is on its way in, and Loose is
	// the part of it that no image needs: what evictions left for later, what
	// another program put there, what is landing at this moment.
	All, Loose Amount

	inventory *Inventory
}

// Owners of a blob, besides an image's place.
const (
	ownedByNone    = -1
	ownedBySeveral = -2
)

// List is Inventory.List of all that the store has now.
func (s *Store) List(ctx context.Context) (*Listing, error) {
	v, err := s.Take(ctx)
	if err == nil {
		err = v.Relate(ctx)
	}
	if err != nil {
		return nil, err
	}
	return v.List(ctx)
}

// List tells what images there are, in an inventory that Relate has completed.
// It reads the tags and, where no index names it, the platform in the config;
// neither counts as a use.
func (v *Inventory) List(ctx context.Context) (*Listing, error) {
	l := &Listing{inventory: v}
	owner := slices.Repeat([]int32{ownedByNone}, len(v.Blobs))
	texts := map[string]string{}
	lister := lister{v, v.lastUse()}
	err := inOrder(ctx, slices.Collect(slices.Chunk(v.repositoryLinks(), 32)), lister.list, func(found []listed) {
		for _, f := range found {
			f.MediaType = intern(texts, f.MediaType)
			for i, p := range f.Platforms {
				f.Platforms[i] = intern(texts, p)
			}
			for i, d := range f.Missing {
				f.Missing[i] = digest.Digest(intern(texts, d.String()))
			}
			place := int32(len(l.Images))
			for _, blob := range f.closure {
				if owner[blob] == ownedByNone {
					owner[blob] = place
				} else {
					owner[blob] = ownedBySeveral
				}
			}
			l.Images = append(l.Images, f.Image)
		}
	})
	if err != nil {
		return nil, err
	}
	for i, b := range v.Blobs {
		l.All.add(b)
		switch owner[i] {
		case ownedByNone:
			l.Loose.add(b)
		case ownedBySeveral:
		default:
			l.Images[owner[i]].Own += b.Allocated
		}
	}
	return l, nil
}

// repositoryLinks are the parts of Links that are of one repository each.
func (v *Inventory) repositoryLinks() [][]ManifestLink {
	parts := make([][]ManifestLink, 0, len(v.Repositories))
	for rest := v.Links; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Repository == rest[0].Repository {
			n++
		}
		parts, rest = append(parts, rest[:n]), rest[n:]
	}
	return parts
}

// manifest returns what is known of a manifest, or nil of what is none.
func (v *Inventory) manifest(blob int32) *HeldManifest {
	if i, is := v.manifestPlace(blob); is {
		return &v.Manifests[i]
	}
	return nil
}

func (v *Inventory) manifestPlace(blob int32) (int, bool) {
	return slices.BinarySearchFunc(v.Manifests, blob, func(m HeldManifest, blob int32) int { return int(m.Blob) - int(blob) })
}

// lastUse returns when each of Manifests was last used: itself, or an index
// that lists it. A use later than now is a clock gone wrong.
func (v *Inventory) lastUse() []int64 {
	now := v.Taken.UnixNano()
	used := make([]int64, len(v.Manifests))
	for i, m := range v.Manifests {
		used[i] = min(v.Blobs[m.Blob].Used, now)
	}
	for changed := true; changed; {
		changed = false
		for i, m := range v.Manifests {
			if m.Listed == 0 {
				continue
			}
			for _, n := range v.NeedsOf(m.Blob) {
				if c, is := v.manifestPlace(n.To); is && used[c] < used[i] {
					used[c], changed = used[i], true
				}
			}
		}
	}
	return used
}
