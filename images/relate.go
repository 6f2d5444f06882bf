package images

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Relate reads all manifests and adds what needs what, and which repository
// has what. It does not count as a use of them. What can't be read as a
// manifest needs nothing.
func (v *Inventory) Relate(ctx context.Context) error {
	fresh, err := v.readLinks(ctx)
	if err != nil {
		return err
	}
	manifests := make([]int32, len(v.Links))
	for i, l := range v.Links {
		manifests[i] = l.Blob
	}
	slices.Sort(manifests)
	manifests = slices.Compact(manifests)
	v.Manifests = make([]HeldManifest, 0, len(manifests))
	v.platforms = map[int32]string{}
	texts := map[string]string{}
	// One at a time would spend more on channels than on manifests. They come in
	// the order of Blobs, so Needs do.
	err = inOrder(ctx, slices.Collect(slices.Chunk(manifests, 64)), v.readManifests, func(read []readManifest) {
		for _, m := range read {
			m.MediaType = intern(texts, m.MediaType)
			v.Manifests = append(v.Manifests, m.HeldManifest)
			v.Needs = append(v.Needs, m.needs...)
			for blob, platform := range m.platforms {
				v.platforms[blob] = intern(texts, platform)
			}
		}
	})
	if err != nil {
		return err
	}
	for _, d := range fresh {
		needs, err := v.store.Needs(d)
		if err != nil {
			continue // gone again, or not a manifest
		}
		for _, d := range append(needs.Manifests, needs.Blobs...) {
			if to, here := v.Find(d); here {
				v.Wanted = append(v.Wanted, to)
			}
		}
	}
	return nil
}

func intern(texts map[string]string, s string) string {
	if same, ok := texts[s]; ok {
		return same
	}
	texts[s] = s
	return s
}

// readLinks finds out which repository has which manifest, and returns those
// that are linked but not in the inventory: most are gone, some have just
// landed.
func (v *Inventory) readLinks(ctx context.Context) (fresh []digest.Digest, err error) {
	var repos []string
	err = v.store.walkRepositories(ctx, "", func(repo string) error {
		repos = append(repos, repo)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = inOrder(ctx, slices.Collect(slices.Chunk(repos, 64)), v.linksOf, func(read []repositoryLinks) {
		for _, r := range read {
			id := int32(len(v.Repositories))
			for _, i := range r.manifests {
				v.Links = append(v.Links, ManifestLink{id, i})
			}
			if len(r.manifests) > 0 {
				v.Repositories = append(v.Repositories, r.name)
			}
			fresh = append(fresh, r.fresh...)
		}
	})
	return fresh, err
}

type repositoryLinks struct {
	name      string
	manifests []int32
	fresh     []digest.Digest
}

func (v *Inventory) linksOf(ctx context.Context, repos []string) ([]repositoryLinks, error) {
	read := make([]repositoryLinks, 0, len(repos))
	for _, repo := range repos {
		links := repositoryLinks{name: repo}
		err := eachDigest(ctx, filepath.Join(v.store.repoDir(repo), string(Manifest)), func(_ string, d digest.Digest) error {
			if i, here := v.Find(d); here {
				links.manifests = append(links.manifests, i)
			} else if _, err := v.store.StatBlob(d); err == nil {
				links.fresh = append(links.fresh, d)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		read = append(read, links)
	}
	return read, nil
}

type readManifest struct {
	HeldManifest
	needs     []Need
	platforms map[int32]string
}

func (v *Inventory) readManifests(ctx context.Context, blobs []int32) ([]readManifest, error) {
	read := make([]readManifest, 0, len(blobs))
	for _, i := range blobs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if doc, err := v.store.readUnused(v.Digest(i)); err == nil {
			read = append(read, v.relate(i, doc))
		}
	}
	return read, nil
}

// relate looks up what a manifest needs.
func (v *Inventory) relate(i int32, doc ManifestDoc) readManifest {
	m := readManifest{HeldManifest: HeldManifest{
		Blob: i, MediaType: doc.Type(), Listed: int32(len(doc.Manifests)), config: -1,
	}}
	for _, child := range doc.Manifests {
		if isAttestation(child.Platform) {
			m.Attestations++
		}
		to, here := v.Find(child.Digest)
		if !here {
			continue
		}
		m.needs = append(m.needs, Need{i, to})
		if child.Platform != nil {
			if m.platforms == nil {
				m.platforms = map[int32]string{}
			}
			m.platforms[to] = platformText(child.Platform)
		}
	}
	for _, desc := range doc.parts() {
		to, here := v.Find(desc.Digest)
		switch {
		case here:
			m.needs = append(m.needs, Need{i, to})
		case !elsewhere(desc):
			m.Missing++
		}
	}
	if doc.Config != nil {
		if to, here := v.Find(doc.Config.Digest); here {
			m.config = to
		}
	}
	slices.SortFunc(m.needs, func(a, b Need) int { return cmp.Compare(a.To, b.To) })
	m.needs = slices.Compact(m.needs)
	return m
}

// Layers calls fn for each blob of the inventory that a repository whose name
// begins with the part first has linked as a layer or config. One in several
// repositories comes several times.
func (v *Inventory) Layers(ctx context.Context, first string, fn func(i int32)) error {
	layers := func(repo string) error {
		return eachDigest(ctx, filepath.Join(v.store.repoDir(repo), string(Layer)), func(_ string, d digest.Digest) error {
			if i, here := v.Find(d); here {
				fn(i)
			}
			return nil
		})
	}
	if err := layers(first); err != nil {
		return err
	}
	return v.store.walkRepositories(ctx, first, layers)
}
