package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// Store is a directory in distribution's layout. It keeps no state in memory
// and may be used by any number of processes at once.
type Store struct {
	root string // .../docker/registry/v2
}

const layout = "docker/registry/v2"

// Open returns the store in dir, and creates its directories where missing.
// A store that can be read but not written opens too: what is in it can be
// served.
func Open(dir string) (*Store, error) {
	s := &Store{root: filepath.Join(dir, layout)}
	for _, sub := range []string{"blobs", "repositories", "fills"} {
		err := os.MkdirAll(filepath.Join(s.root, sub), 0o775)
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
			if _, statErr := os.Stat(s.root); statErr == nil {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("open the store: %w", err)
		}
	}
	return s, nil
}

// OpenExisting returns the store in dir, which it does not change: without the
// directories of a store, it is empty. It returns fs.ErrNotExist when there is
// no dir.
func OpenExisting(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return &Store{root: filepath.Join(dir, layout)}, nil
}

// digestPath returns alg/hex. Digests come from validated input only.
func digestPath(d digest.Digest) string {
	return filepath.Join(d.Algorithm().String(), d.Encoded())
}

// blobPrefixDir has the directories of all blobs whose hashes begin alike.
func (s *Store) blobPrefixDir(d digest.Digest) string {
	return filepath.Join(s.root, "blobs", d.Algorithm().String(), d.Encoded()[:2])
}

func (s *Store) blobDir(d digest.Digest) string {
	return filepath.Join(s.blobPrefixDir(d), d.Encoded())
}

// BlobPath is where the bytes of a blob lie once they are complete and verified.
func (s *Store) BlobPath(d digest.Digest) string { return filepath.Join(s.blobDir(d), "data") }

// FillDir is the directory that the fill of one blob has to itself. It is on
// the file system of BlobPath, so that a finished file can be renamed there.
func (s *Store) FillDir(d digest.Digest) string {
	return filepath.Join(s.root, "fills", digestPath(d))
}

func (s *Store) repoDir(repo string) string {
	return filepath.Join(s.root, "repositories", filepath.FromSlash(repo))
}

// OpenBlob opens a complete blob for reading. It returns fs.ErrNotExist when
// the blob is not here. The size comes with it so that callers need no stat.
func (s *Store) OpenBlob(d digest.Digest) (*os.File, int64, error) {
	f, err := os.Open(s.BlobPath(d))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// StatBlob returns the size of a complete blob, or fs.ErrNotExist.
func (s *Store) StatBlob(d digest.Digest) (int64, error) {
	info, err := os.Stat(s.BlobPath(d))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
