package images

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind says what a blob is to a repository.
type Kind string

const (
	// Layer is a layer or a config.
	Layer Kind = "_layers"
	// Manifest is a manifest or an index.
	Manifest Kind = "_manifests/revisions"
)

func (s *Store) linkPath(repo string, k Kind, d digest.Digest) string {
	return filepath.Join(s.repoDir(repo), string(k), digestPath(d), "link")
}

// HasLink says whether the repository may serve the blob; the blob itself may
// be gone.
func (s *Store) HasLink(repo string, k Kind, d digest.Digest) bool {
	got, err := readLink(s.linkPath(repo, k, d))
	return err == nil && got == d
}

// Link makes the blob part of the repository.
func (s *Store) Link(repo string, k Kind, d digest.Digest) error {
	return writeFile(s.linkPath(repo, k, d), []byte(d))
}

func (s *Store) tagDir(repo, tag string) string {
	return filepath.Join(s.repoDir(repo), "_manifests/tags", tag)
}

// Tag returns the digest a tag was last known to name, and when that was
// written. It returns fs.ErrNotExist for a tag not known here.
func (s *Store) Tag(repo, tag string) (digest.Digest, time.Time, error) {
	path := filepath.Join(s.tagDir(repo, tag), "current/link")
	d, err := readLink(path)
	if err != nil {
		return "", time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", time.Time{}, err
	}
	return d, info.ModTime(), nil
}

// SetTag points a tag to a manifest.
func (s *Store) SetTag(repo, tag string, d digest.Digest) error {
	dir := s.tagDir(repo, tag)
	if err := writeFile(filepath.Join(dir, "index", digestPath(d), "link"), []byte(d)); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "current/link"), []byte(d))
}

// RemoveTag forgets a tag, as when the upstream no longer has it.
func (s *Store) RemoveTag(repo, tag string) error {
	return os.RemoveAll(s.tagDir(repo, tag))
}

// readLink reads a link file. One that power loss left empty or torn is as
// good as none.
func readLink(path string) (digest.Digest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	d, err := digest.Parse(strings.TrimSpace(string(b)))
	if err != nil {
		return "", &os.PathError{Op: "read link", Path: path, Err: os.ErrNotExist}
	}
	return d, nil
}

// writeFile replaces a small file at once, so that no reader sees half of it.
// There is no fsync: readers treat a torn file as absent and the next pull
// writes it again.
func writeFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := createTemp(dir)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o664)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// tempPrefix starts the names of files on their way to another name.
const tempPrefix = ".tmp-"

// createTemp makes the directory when it is missing. The cleaner may remove an
// empty directory between the two steps, hence more than one try.
func createTemp(dir string) (f *os.File, err error) {
	for range 3 {
		if err = os.MkdirAll(dir, 0o775); err == nil {
			f, err = os.CreateTemp(dir, tempPrefix)
		}
		if err == nil || !os.IsNotExist(err) {
			return f, err
		}
	}
	return nil, err
}
