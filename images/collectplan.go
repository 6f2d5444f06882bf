package images

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// PlanCollection is PlanRemoval for a store of pushed images, which no cleaner
// goes through: all goes that no image needs, whatever it was once part of. What
// a push that is under way was promised stays. Nothing goes while a manifest
// stays that can't be read, as what it needs would go with all the rest. Who
// lets others push is to have been Collecting since before the inventory was
// taken.
func (l *Listing) PlanCollection(ctx context.Context, targets []Target) (*Removal, error) {
	p := l.planRemoval(targets)
	if err := p.checkReadable(); err != nil {
		return nil, err
	}
	if err := p.keepPledged(ctx); err != nil {
		return nil, err
	}
	p.divide()
	return p.Removal, p.collect(ctx)
}

// checkReadable looks for a manifest that stays and could not be read, for
// whatever reason.
func (p *removalPlan) checkReadable() error {
	going := map[string]map[int32]bool{}
	for _, image := range p.Images {
		if going[image.Repository] == nil {
			going[image.Repository] = map[int32]bool{}
		}
		for _, blob := range p.closure(image.top) {
			going[image.Repository][blob] = true
		}
	}
	for _, l := range p.Links {
		repo := p.Repositories[l.Repository]
		if p.manifest(l.Blob) == nil && !going[repo][l.Blob] {
			return fmt.Errorf("the manifest %s@%s can't be read, so there is no telling what it needs; remove it, or see what clean --verify says of it",
				repo, p.Digest(l.Blob))
		}
	}
	return nil
}

// keepPledged marks what pushes need that are under way.
func (p *removalPlan) keepPledged(ctx context.Context) error {
	return p.store.eachPledge(ctx, func(repo string, d digest.Digest, since time.Time) {
		if p.Taken.Sub(since) > pledgeTime {
			p.expired = append(p.expired, p.store.pledgePath(repo, d))
			return
		}
		i, here := p.Find(d)
		if !here {
			return
		}
		if !p.needed[i] {
			p.Pledged++
		}
		p.needed[i] = true
		if of, concerned := p.repositories[repo]; concerned {
			of[i] = true
		}
	})
}

// collect adds what no image needs, and its links in all repositories.
func (p *removalPlan) collect(ctx context.Context) error {
	last := len(p.steps) - 1
	for i := range p.Blobs {
		if !p.needed[i] && !p.seen[i] {
			p.steps[last] = append(p.steps[last], int32(i))
			p.Freed.add(p.Blobs[i])
		}
	}
	return p.store.walkRepositories(ctx, "", func(repo string) error {
		return eachDigest(ctx, filepath.Join(p.store.repoDir(repo), string(Layer)), func(_ string, d digest.Digest) error {
			if i, here := p.Find(d); here && !p.needed[i] && !p.seen[i] {
				p.links = append(p.links, goingLink{repo, i, Layer})
			}
			return nil
		})
	})
}
