package images

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// unlink takes a blob out of a repository, with what the repository says of it
// besides, unless it was linked since.
func (s *Store) unlink(repo string, k Kind, d digest.Digest, since time.Time) error {
	link := s.linkPath(repo, k, d)
	info, err := os.Lstat(link)
	if err != nil {
		return ignoreNotExist(err)
	}
	if info.ModTime().After(since) {
		return nil // a pull that runs at this moment has just brought it
	}
	paths := []string{link}
	if k == Manifest {
		paths = append(paths, s.mediaTypePath(repo, d), s.referrersPath(repo, d))
	}
	for _, path := range paths {
		err = errors.Join(err, ignoreNotExist(os.Remove(path)))
	}
	for _, path := range paths {
		s.prune(filepath.Dir(path))
	}
	return err
}

// prune removes a directory if it is empty, and those above it if that makes
// them empty, but for the one of all repositories.
func (s *Store) prune(path string) {
	for top := s.repoDir(""); path != top && os.Remove(path) == nil; {
		path = filepath.Dir(path)
	}
}
