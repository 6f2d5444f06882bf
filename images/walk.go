package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// subdirs returns the sorted names in a directory; none if it is gone.
func subdirs(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// withDir opens a directory for fn; one that is gone is as good as empty.
func withDir(path string, fn func(dir *os.File) error) error {
	dir, err := os.Open(path)
	if err != nil {
		return ignoreNotExist(err)
	}
	defer dir.Close()
	return fn(dir)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// leadsNowhere says whether a path has a file, or a link to itself, where a
// directory should be: not ours to judge, and as good as absent.
func leadsNowhere(err error) bool {
	return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// absent says whether there is nothing at a path, or nothing of ours.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || leadsNowhere(err) }

// walkRepositories calls fn for each directory below repositories/, as any of
// them may be a repository.
func (s *Store) walkRepositories(ctx context.Context, dir string, fn func(repo string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := subdirs(s.repoDir(dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "_") {
			continue // never part of a repository's name
		}
		repo := filepath.Join(dir, name)
		if err := fn(repo); err != nil {
			return err
		}
		if err := s.walkRepositories(ctx, repo, fn); err != nil {
			return err
		}
	}
	return nil
}

// eachDigest calls fn for each directory <alg>/<hex> below path, reading names
// in batches.
func eachDigest(ctx context.Context, path string, fn func(dir string, d digest.Digest) error) error {
	algs, err := subdirs(path)
	if err != nil && !leadsNowhere(err) {
		return err
	}
	for _, alg := range algs {
		err := eachName(ctx, filepath.Join(path, alg), func(hex string) error {
			if !isDigest(alg, hex) {
				return nil
			}
			return fn(filepath.Join(path, alg, hex), digest.NewDigestFromEncoded(digest.Algorithm(alg), hex))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachName calls fn for each name in a directory of any size. fn may remove
// what it is called for.
func eachName(ctx context.Context, path string, fn func(name string) error) error {
	return withDir(path, func(dir *os.File) error {
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			names, err := dir.Readdirnames(1024)
			for _, name := range names {
				if err := fn(name); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return ignoreNotExist(err)
			}
		}
	})
}
