package images

// TaggedManifest is a tag and the manifest it names.
type TaggedManifest struct {
	Name string
	// Blob is a place in Inventory.Blobs.
	Blob int32
}

// Tagged returns the tags of a repository that name a manifest of the
// inventory, sorted by name.
func (v *Inventory) Tagged(repo string) ([]TaggedManifest, error) {
	names, err := v.store.Tags(repo)
	if err != nil {
		return nil, err
	}
	var tagged []TaggedManifest
	for _, name := range names {
		d, _, err := v.store.Tag(repo, name)
		if err != nil {
			continue // removed in between
		}
		if i, here := v.Find(d); here {
			tagged = append(tagged, TaggedManifest{name, i})
		}
	}
	return tagged, nil
}
