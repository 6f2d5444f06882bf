package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// HostedDir is the directory of what was pushed, beside the store of what is
// cached in storeDir. It is a store of its own, so that nothing evicts from it.
func HostedDir(storeDir string) string { return filepath.Join(storeDir, "hosted") }

// At returns the store in a directory that it does not look at: what Open does
// is for somebody else to do.
func At(dir string) *Store { return &Store{root: filepath.Join(dir, layout)} }

// RemoveLink takes a blob out of a repository, and leaves it in the store.
func (s *Store) RemoveLink(repo string, k Kind, d digest.Digest) error {
	dir := filepath.Dir(s.linkPath(repo, k, d))
	err := os.RemoveAll(dir)
	s.prune(filepath.Dir(dir))
	return err
}

// EachManifest calls fn for each manifest that the repository has linked.
func (s *Store) EachManifest(ctx context.Context, repo string, fn func(d digest.Digest) error) error {
	return eachDigest(ctx, filepath.Join(s.repoDir(repo), string(Manifest)), func(_ string, d digest.Digest) error {
		if !s.HasLink(repo, Manifest, d) {
			return nil
		}
		return fn(d)
	})
}

// Usage is how much a store holds.
type Usage struct {
	// Repositories are those that have a manifest.
	Repositories, Tags int
	// Bytes are the disk space of all its files.
	Bytes int64
}

// Usage walks over the whole store.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	err := s.walkRepositories(ctx, "", func(repo string) error {
		has, err := s.hasManifest(repo)
		if err != nil || !has {
			return err
		}
		tags, err := s.Tags(repo)
		u.Repositories++
		u.Tags += len(tags)
		return err
	})
	if err != nil {
		return u, err
	}
	err = filepath.WalkDir(s.root, func(path string, entry fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && !entry.IsDir() {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		u.Bytes += allocated(&st)
		return err
	})
	return u, err
}
