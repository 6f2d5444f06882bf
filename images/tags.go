package images

import (
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
)

// IsTag says whether a name can be that of a tag (OCI distribution spec 1.1,
// "Pulling manifests").
func IsTag(name string) bool {
	at := reference.TagRegexp.FindStringIndex(name)
	return at != nil && at[0] == 0 && at[1] == len(name)
}

// Tags returns the tags of a repository that are known here, sorted; none for
// a repository that is not.
func (s *Store) Tags(repo string) ([]string, error) {
	dir := filepath.Join(s.repoDir(repo), "_manifests/tags")
	entries, err := os.ReadDir(dir)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, e := range entries {
		if _, err := readLink(filepath.Join(dir, e.Name(), "current/link")); err == nil {
			tags = append(tags, e.Name())
		}
	}
	return tags, nil
}

// ConfirmTag records that a tag was found unchanged: Tag reports the present
// as the time it was written.
func (s *Store) ConfirmTag(repo, tag string) error {
	now := time.Now()
	return os.Chtimes(filepath.Join(s.tagDir(repo, tag), "current/link"), now, now)
}
