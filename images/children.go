package images

import "github.com/opencontainers/go-digest"

// Child is a manifest that an index lists.
type Child struct {
	Digest    digest.Digest
	MediaType string
	// Platform is os/architecture[/variant], or empty where the index does not
	// say so.
	Platform string
	// Here says whether the repository has it.
	Here bool
}

// Children reads what the index of an image lists; nothing for what is none.
func (l *Listing) Children(image Image) ([]Child, error) {
	if image.Listed == 0 {
		return nil, nil
	}
	v := l.inventory
	doc, err := v.store.readUnused(image.Digest)
	if err != nil {
		return nil, err
	}
	children := make([]Child, 0, len(doc.Manifests))
	for _, m := range doc.Manifests {
		child := Child{Digest: m.Digest, MediaType: m.MediaType}
		if m.Platform != nil {
			child.Platform = platformText(m.Platform)
		}
		if _, here := v.Find(m.Digest); here {
			child.Here = v.store.HasLink(image.Repository, Manifest, m.Digest)
		}
		children = append(children, child)
	}
	return children, nil
}
