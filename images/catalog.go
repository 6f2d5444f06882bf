package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Repositories returns the names after last of at most n repositories that
// have a manifest, in lexical order, and whether there are more. An empty last
// starts at the first one. Only the directories between last and the end of
// the page are read, so that a page costs the same in a store of any size.
func (s *Store) Repositories(ctx context.Context, last string, n int) (names []string, more bool, err error) {
	if n <= 0 {
		return nil, false, nil
	}
	c := catalog{store: s, last: last, limit: n}
	err = c.walk(ctx, "")
	if errors.Is(err, errPageFull) {
		return c.names, true, nil
	}
	return c.names, false, err
}

// errPageFull ends a walk that found one repository more than fits.
var errPageFull = errors.New("page is full")

type catalog struct {
	store *Store
	last  string
	limit int
	names []string
}

// walk visits what is below a directory, whose name is "" or ends with a slash.
func (c *catalog) walk(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.store.repoDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by the cleaner in between
	}
	if err != nil {
		return err
	}
	// A repository comes before all whose names it starts, but those with a
	// slash may come after "name-x" and "name.x": both are sorted on their own.
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "_") {
			names = append(names, dir+e.Name(), dir+e.Name()+"/")
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if name > c.last || strings.HasPrefix(c.last, name) {
				err = c.walk(ctx, name)
			}
		} else if name > c.last {
			err = c.add(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *catalog) add(name string) error {
	has, err := c.store.hasManifest(name)
	if err != nil || !has {
		return err
	}
	if len(c.names) == c.limit {
		return errPageFull
	}
	c.names = append(c.names, name)
	return nil
}

// hasManifest says whether the repository has a manifest linked, and stops at
// the first one.
func (s *Store) hasManifest(repo string) (bool, error) {
	revisions := filepath.Join(s.repoDir(repo), string(Manifest))
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		has, err := s.hasRevision(repo, alg, filepath.Join(revisions, alg.String()))
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

func (s *Store) hasRevision(repo string, alg digest.Algorithm, dir string) (bool, error) {
	f, err := os.Open(dir)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	for {
		names, err := f.Readdirnames(32)
		for _, hex := range names {
			d := digest.NewDigestFromEncoded(alg, hex)
			if alg.Validate(hex) == nil && s.HasLink(repo, Manifest, d) {
				return true, nil
			}
		}
		if err == io.EOF || absent(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}
