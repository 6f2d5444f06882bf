package images

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// lister lists the images of repositories. It is for several goroutines.
type lister struct {
	*Inventory
	used []int64 // of Manifests
}

// listed is an image and all blobs that it needs and that are here, sorted.
type listed struct {
	Image
	closure []int32
}

func (l lister) list(ctx context.Context, repositories [][]ManifestLink) (found []listed, err error) {
	for _, links := range repositories {
		images, err := l.repository(ctx, links)
		if err != nil {
			return nil, err
		}
		found = append(found, images...)
	}
	return found, nil
}

// held is what one repository has linked.
type held struct {
	lister
	name string
	// manifests and layers are sorted.
	manifests, layers []int32
}

func (h *held) hasManifest(i int32) bool { return contains(h.manifests, i) }
func (h *held) hasLayer(i int32) bool    { return contains(h.layers, i) }

func contains(sorted []int32, i int32) bool {
	_, has := slices.BinarySearch(sorted, i)
	return has
}

// repository lists what is tagged, and what is linked but in no index that the
// repository has.
func (l lister) repository(ctx context.Context, links []ManifestLink) ([]listed, error) {
	h := held{lister: l, name: l.Repositories[links[0].Repository]}
	for _, link := range links {
		h.manifests = append(h.manifests, link.Blob)
	}
	slices.Sort(h.manifests)
	layers := filepath.Join(l.store.repoDir(h.name), string(Layer))
	err := eachDigest(ctx, layers, func(_ string, d digest.Digest) error {
		if i, here := l.Find(d); here {
			h.layers = append(h.layers, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(h.layers)
	tagged, err := l.Tagged(h.name)
	if err != nil {
		return nil, err
	}
	tags := make(map[int32][]string, len(tagged))
	for _, t := range tagged {
		tags[t.Blob] = append(tags[t.Blob], t.Name)
	}

	tops := h.tops()
	for i := range tags {
		tops = append(tops, i)
	}
	slices.Sort(tops)
	tops = slices.Compact(tops)
	images := make([]listed, 0, len(tops))
	for _, i := range tops {
		image := h.image(i)
		image.Tags = tags[i]
		images = append(images, image)
	}
	return images, nil
}

// tops are the manifests that no index of the repository lists.
func (h *held) tops() []int32 {
	below := map[int32]bool{}
	for _, i := range h.manifests {
		if m := h.manifest(i); m != nil && m.Listed > 0 {
			for _, n := range h.NeedsOf(i) {
				below[n.To] = n.To != i
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(h.manifests), func(i int32) bool { return below[i] })
}

func (h *held) image(top int32) listed {
	f := listed{
		Image:   Image{Repository: h.name, Digest: h.Digest(top), top: top},
		closure: h.closure(top),
	}
	f.Blobs = len(f.closure)
	for _, i := range f.closure {
		f.Size += h.Blobs[i].Allocated
	}
	place, is := h.manifestPlace(top)
	if !is {
		f.Used = time.Unix(0, min(h.Blobs[top].Used, h.Taken.UnixNano()))
		if f.Damaged = h.hasManifest(top); !f.Damaged {
			f.Missing = []digest.Digest{f.Digest} // all there is of it is a tag
		}
		return f
	}
	f.Used = time.Unix(0, h.used[place])
	h.describe(&f.Image, &h.Manifests[place])
	f.Missing = h.missing(top)
	return f
}

// closure returns a manifest and all it needs that is here, sorted.
func (v *Inventory) closure(top int32) []int32 {
	all, seen := []int32{top}, map[int32]bool{top: true}
	for next := 0; next < len(all); next++ {
		for _, n := range v.NeedsOf(all[next]) {
			if !seen[n.To] {
				seen[n.To] = true
				all = append(all, n.To)
			}
		}
	}
	slices.Sort(all)
	return all
}

// describe adds what a manifest says of itself.
func (h *held) describe(image *Image, m *HeldManifest) {
	if image.MediaType = m.MediaType; image.MediaType == "" {
		text, _ := os.ReadFile(h.store.mediaTypePath(h.name, image.Digest)) // absent is as good as empty
		image.MediaType = string(text)
	}
	if m.Listed == 0 {
		if platform := h.platform(m); platform != "" {
			image.Platforms = []string{platform}
		}
		return
	}
	image.Listed = int(m.Listed - m.Attestations)
	for _, n := range h.NeedsOf(m.Blob) {
		child := h.child(n.To)
		if child == nil {
			continue
		}
		image.Here++
		if platform := h.platform(child); platform != "" {
			image.Platforms = append(image.Platforms, platform)
		}
	}
	slices.Sort(image.Platforms)
	image.Platforms = slices.Compact(image.Platforms)
}

// child returns what an index lists if it is an image and here, or nil.
func (h *held) child(i int32) *HeldManifest {
	if !h.hasManifest(i) || h.attests(i) {
		return nil
	}
	return h.manifest(i)
}

// missing are the blobs without which an image can't be pulled from here alone.
// Of an index, they are those of the images that are here.
func (h *held) missing(top int32) (list []digest.Digest) {
	manifests, seen, noted := []int32{top}, map[int32]bool{top: true}, map[digest.Digest]bool{}
	add := func(d digest.Digest) {
		if !noted[d] {
			noted[d] = true
			list = append(list, d)
		}
	}
	for next := 0; next < len(manifests); next++ {
		i := manifests[next]
		m := h.manifest(i)
		if m == nil || !h.hasManifest(i) {
			add(h.Digest(i))
			continue
		}
		if m.Missing > 0 {
			h.absent(i, add)
		}
		for _, need := range h.NeedsOf(i) {
			switch {
			case seen[need.To]:
			case m.Listed == 0 && !h.hasLayer(need.To):
				add(h.Digest(need.To))
			case m.Listed > 0 && h.hasManifest(need.To) && !h.attests(need.To):
				manifests = append(manifests, need.To)
			}
			seen[need.To] = true
		}
	}
	return list
}

// absent calls fn for each blob that a manifest needs and that is not here. To
// remember them all would take memory that hardly anybody wants to know of.
func (v *Inventory) absent(i int32, fn func(digest.Digest)) {
	doc, err := v.store.readUnused(v.Digest(i))
	if err != nil {
		return // gone in between
	}
	for _, desc := range doc.parts() {
		if _, here := v.Find(desc.Digest); !here && !elsewhere(desc) {
			fn(desc.Digest)
		}
	}
}
