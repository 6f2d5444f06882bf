package images

import (
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

func (s *Store) referrersPath(repo string, d digest.Digest) string {
	return filepath.Join(s.repoDir(repo), "_referrers", digestPath(d), "index.json")
}

// Referrers returns the index of the manifests that refer to d, as the
// upstream last gave it, and when that was written, or fs.ErrNotExist.
func (s *Store) Referrers(repo string, d digest.Digest) ([]byte, time.Time, error) {
	path := s.referrersPath(repo, d)
	index, err := os.ReadFile(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	return index, info.ModTime(), nil
}

// PutReferrers keeps the index of the manifests that refer to d.
func (s *Store) PutReferrers(repo string, d digest.Digest, index []byte) error {
	return writeFile(s.referrersPath(repo, d), index)
}
