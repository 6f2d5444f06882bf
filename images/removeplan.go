package images

import (
	"slices"
	"strings"
)

// PlanRemoval finds out what goes with the targets. An image whose other tags
// stay, or which an index of its repository lists, loses the named tags alone.
// Blobs go that no image needs any more.
func (l *Listing) PlanRemoval(targets []Target) *Removal {
	p := l.planRemoval(targets)
	p.divide()
	return p.Removal
}

func (l *Listing) planRemoval(targets []Target) *removalPlan {
	p := &removalPlan{
		Removal: &Removal{listing: l}, Inventory: l.inventory,
		going: make(map[int]bool, len(targets)), repositories: map[string]kept{},
		needed: make([]bool, len(l.inventory.Blobs)),
	}
	p.choose(targets)
	p.keep()
	return p
}

type removalPlan struct {
	*Removal
	*Inventory
	// going are places in Listing.Images.
	going map[int]bool
	// repositories are those that lose an image.
	repositories map[string]kept
	// needed are blobs that stay.
	needed []bool
	// seen are blobs that have a step.
	seen []bool
}

// kept are the blobs that a repository still needs, by place.
type kept map[int32]bool

// choose decides which images go and which lose tags only.
func (p *removalPlan) choose(targets []Target) {
	images := p.listing.Images
	tags := map[int]map[string]bool{}
	for _, t := range targets {
		if tags[t.Image] == nil {
			tags[t.Image] = map[string]bool{}
		}
		chosen := t.Tags
		if len(chosen) == 0 {
			chosen = images[t.Image].Tags
		}
		for _, tag := range chosen {
			tags[t.Image][tag] = true
		}
		if len(tags[t.Image]) == len(images[t.Image].Tags) {
			p.going[t.Image] = true
			p.repositories[images[t.Image].Repository] = kept{}
		}
	}
	p.keepRepositories()
	for _, i := range sortedKeys(tags) {
		image := &images[i]
		stays := ""
		if !p.going[i] {
			var others []string
			for _, tag := range image.Tags {
				if !tags[i][tag] {
					others = append(others, tag)
				}
			}
			stays = "it is also tagged " + strings.Join(others, ", ")
		} else if p.repositories[image.Repository][image.top] {
			stays = "an index lists it"
			delete(p.going, i)
		}
		for _, tag := range image.Tags {
			if tags[i][tag] {
				p.Tags = append(p.Tags, RemovedTag{image.Repository, tag, image.Digest, stays})
			}
		}
	}
	for _, i := range sortedKeys(p.going) {
		p.Images = append(p.Images, images[i])
	}
}

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for i := range m {
		keys = append(keys, i)
	}
	slices.Sort(keys)
	return keys
}

// keepRepositories finds out what the repositories that lose an image still
// need.
func (p *removalPlan) keepRepositories() {
	for i, image := range p.listing.Images {
		of, concerned := p.repositories[image.Repository]
		if !concerned || p.going[i] {
			continue
		}
		for _, blob := range p.closure(image.top) {
			of[blob] = true
		}
	}
}

// keep marks what the images that stay need, and what landed since the blobs
// were listed.
func (p *removalPlan) keep() {
	var todo []int32
	mark := func(i int32) {
		if !p.needed[i] {
			p.needed[i] = true
			todo = append(todo, i)
		}
	}
	for i, image := range p.listing.Images {
		if !p.going[i] {
			mark(image.top)
		}
	}
	for _, i := range p.Wanted {
		mark(i)
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, n := range p.NeedsOf(i) {
			mark(n.To)
		}
	}
}

// divide puts what goes into steps: first the manifests that are asked for by
// name, then those that these list, then all the rest. So wherever it ends,
// nothing is left that looks whole but is not.
func (p *removalPlan) divide() {
	p.steps = make([][]int32, 3)
	p.seen = make([]bool, len(p.needed))
	for _, image := range p.Images {
		of := p.repositories[image.Repository]
		for _, blob := range p.closure(image.top) {
			kind := Layer
			if p.manifest(blob) != nil || blob == image.top {
				kind = Manifest
			}
			if !of[blob] {
				p.links = append(p.links, goingLink{image.Repository, blob, kind})
			}
			if p.needed[blob] || p.seen[blob] {
				continue
			}
			p.seen[blob] = true
			step := 2
			switch {
			case blob == image.top:
				step = 0
			case kind == Manifest:
				step = 1
			}
			p.steps[step] = append(p.steps[step], blob)
			p.Freed.add(p.Blobs[blob])
		}
	}
}
