package images

import (
	"os"
	"path/filepath"
)

// TaggedManifest is a tag and the manifest it names.
type TaggedManifest struct {
	Name string
	// Blob is a place in Inventory.Blobs.
	Blob int32
}

// Tagged returns the tags of a repository that name a manifest of the
// inventory, sorted by name.
func (v *Inventory) Tagged(repo string) ([]TaggedManifest, error) {
	dir := filepath.Join(v.store.repoDir(repo), "_manifests/tags")
	entries, err := os.ReadDir(dir)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var tagged []TaggedManifest
	for _, e := range entries {
		d, err := readLink(filepath.Join(dir, e.Name(), "current/link"))
		if err != nil {
			continue // removed in between, or damaged
		}
		if i, here := v.Find(d); here {
			tagged = append(tagged, TaggedManifest{e.Name(), i})
		}
	}
	return tagged, nil
}
