package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Blob is what the disk says of a complete blob.
type Blob struct {
	Digest digest.Digest
	// Allocated is the disk space it takes, in bytes.
	Allocated int64
	// Used is when it was last used, as far as that was recorded.
	Used time.Time
	// Changed is when it landed, or its use was last recorded.
	Changed time.Time
}

// WalkBlobs calls fn for each complete blob, sorted by digest, until fn
// returns an error. It holds the names of one directory of 256 at a time.
// Blobs that come or go meanwhile may be seen or not.
func (s *Store) WalkBlobs(ctx context.Context, fn func(Blob) error) error {
	return s.eachBlobDir(ctx, func(dir *os.File, alg digest.Algorithm, names []string) error {
		for _, name := range names {
			var st unix.Stat_t
			err := unix.Fstatat(int(dir.Fd()), name+"/data", &st, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return &fs.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name, "data"), Err: err}
			}
			err = fn(Blob{
				Digest:    digest.NewDigestFromEncoded(alg, name),
				Allocated: allocated(&st),
				Used:      accessTime(&st),
				Changed:   later(time.Unix(st.Mtim.Unix()), time.Unix(st.Ctim.Unix())),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// allocated counts in blocks of 512 bytes, whatever the file system's are.
func allocated(st *unix.Stat_t) int64 { return st.Blocks * 512 }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// eachBlobDir calls fn for each directory blobs/<alg>/<hh> with the sorted
// names in it that are digests.
func (s *Store) eachBlobDir(ctx context.Context, fn func(dir *os.File, alg digest.Algorithm, names []string) error) error {
	blobs := filepath.Join(s.root, "blobs")
	algs, err := subdirs(blobs)
	if err != nil {
		return err
	}
	for _, alg := range algs {
		prefixes, err := subdirs(filepath.Join(blobs, alg))
		if err != nil {
			return err
		}
		for _, prefix := range prefixes {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := withDir(filepath.Join(blobs, alg, prefix), func(dir *os.File) error {
				names, err := dir.Readdirnames(-1)
				if err != nil {
					return ignoreNotExist(err)
				}
				names = slices.DeleteFunc(names, func(name string) bool {
					return !strings.HasPrefix(name, prefix) || !isDigest(alg, name)
				})
				slices.Sort(names)
				return fn(dir, digest.Algorithm(alg), names)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func isDigest(alg, hex string) bool {
	return digest.Algorithm(alg).Validate(hex) == nil
}

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

// WalkManifests calls fn for each manifest that a repository has linked; one
// in several repositories comes several times. The blob may be gone.
func (s *Store) WalkManifests(ctx context.Context, fn func(repo string, d digest.Digest) error) error {
	return s.walkRepositories(ctx, "", func(repo string) error {
		return eachDigest(ctx, filepath.Join(s.repoDir(repo), string(Manifest)), func(_ string, d digest.Digest) error {
			return fn(repo, d)
		})
	})
}

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
	if err != nil {
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
