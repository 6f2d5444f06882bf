package images

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

func (s *Store) referrersPath(repo string, d digest.Digest) string {
	return filepath.Join(s.repoDir(repo), "_referrers", digestPath(d), "index.json")
}

// Referrers returns the index of the manifests that refer to d, as the
// upstream last gave it, or fs.ErrNotExist.
func (s *Store) Referrers(repo string, d digest.Digest) ([]byte, error) {
	return os.ReadFile(s.referrersPath(repo, d))
}

// PutReferrers keeps the index of the manifests that refer to d.
func (s *Store) PutReferrers(repo string, d digest.Digest, index []byte) error {
	return writeFile(s.referrersPath(repo, d), index)
}
