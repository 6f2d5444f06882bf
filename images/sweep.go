package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// uploadAge is how long a push may rest before it counts as abandoned, and how
// long referrers are kept of what is not here.
const uploadAge = 24 * time.Hour

// Swept counts what a Sweep removed.
type Swept struct {
	// Links lead to blobs that are gone, tags and referrers included.
	Links int `json:"links"`
	// Uploads are pushes nobody finished.
	Uploads int `json:"uploads"`
	// Dirs were empty.
	Dirs int `json:"dirs"`
	// Files are temporary ones that a killed process left.
	Files int `json:"files"`
}

func (s *Swept) add(other Swept) {
	s.Links += other.Links
	s.Uploads += other.Uploads
	s.Dirs += other.Dirs
	s.Files += other.Files
}

// Sweeping says what a Sweep is to leave alone.
type Sweeping struct {
	// Before is the time after which what changed is left alone.
	Before time.Time
}

// Sweep removes what evictions and killed processes leave behind: links to
// blobs that are gone, pushes nobody went on with for a day, temporary files,
// empty directories. What it does not know is left alone. It may run beside
// pulls and be killed at any moment.
func (s *Store) Sweep(ctx context.Context, o Sweeping) (Swept, error) {
	return s.sweep(ctx, o, nil)
}

// Sweep is Store.Sweep that need not look for what the inventory knows to be
// here, less what gone names by its place; nil is none.
func (v *Inventory) Sweep(ctx context.Context, gone []bool, o Sweeping) (Swept, error) {
	return v.store.sweep(ctx, o, func(d digest.Digest) bool {
		i, known := v.Find(d)
		return !known || gone != nil && gone[i]
	})
}

func (s *Store) sweep(ctx context.Context, o Sweeping, mayBeGone func(digest.Digest) bool) (Swept, error) {
	p := newParallelSweep(ctx, s, o, mayBeGone)
	err := p.repositories()
	dirs, failed := s.blobDirs()
	for _, b := range dirs {
		p.run(func(w *sweeper) error { return w.blobs(b) })
	}
	return p.wait(errors.Join(err, failed))
}

type sweeper struct {
	ctx    context.Context
	store  *Store
	before time.Time
	// mayBeGone says which links are looked at; nil is all.
	mayBeGone func(digest.Digest) bool
	swept     Swept
}

// A visit deals with one directory and says whether it is gone now.
type visit func(path string) (gone bool, err error)

// each visits the directories in path, which is removed if it then is empty.
// Temporary files in it go, other files stay.
func (w *sweeper) each(path string, pick func(name string) visit) (gone bool, err error) {
	left, removed := 0, false
	err = eachName(w.ctx, path, func(name string) error {
		child := filepath.Join(path, name)
		gone := false
		var err error
		if strings.HasPrefix(name, tempPrefix) {
			gone, err = w.temporary(child)
		} else if visit := pick(name); visit != nil {
			gone, err = visit(child)
		}
		if gone {
			removed = true
		} else {
			left++
		}
		if leadsNowhere(err) || errors.Is(err, unix.EISDIR) {
			return nil // the wrong kind of thing: not ours to judge
		}
		return err
	})
	if leadsNowhere(err) {
		return false, nil
	}
	if err != nil || left > 0 {
		return false, err
	}
	return w.empty(path, removed), nil
}

// clear removes a directory whose files were dropped, unless somebody has come
// to use it.
func (w *sweeper) clear(path string) (gone bool, err error) {
	if w.empty(path, true) {
		return true, nil
	}
	if gone, err = w.each(path, only(nil)); gone || err != nil {
		return gone, err
	}
	return w.empty(path, true), nil
}

func all(v visit) func(string) visit { return func(string) visit { return v } }

func only(names map[string]visit) func(string) visit {
	return func(name string) visit { return names[name] }
}

// empty removes a directory that has nothing in it. One found so may be about
// to be used, unless it is old; one that was just emptied may go, as whoever
// uses it makes it again.
func (w *sweeper) empty(path string, emptied bool) bool {
	if !emptied && !w.old(path, w.before) {
		return false
	}
	if unix.Rmdir(path) != nil {
		return false
	}
	w.swept.Dirs++
	return true
}

func (w *sweeper) old(path string, before time.Time) bool {
	info, err := os.Lstat(path)
	return err == nil && info.ModTime().Before(before)
}

// temporary removes a file that nobody is about to give another name. It goes
// by when the file got the one it has, as what another sweep has just taken
// aside may be of any age.
func (w *sweeper) temporary(path string) (bool, error) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Ctim.Nano() >= w.before.UnixNano() {
		return false, nil
	}
	err := os.Remove(path)
	if err == nil {
		w.swept.Files++
	}
	return err == nil, ignoreNotExist(err)
}

// repository sweeps a repository, but not those below it.
func (w *sweeper) repository(path string) (bool, error) {
	return w.each(path, func(name string) visit {
		switch name {
		case "_layers":
			return w.digests(w.link)
		case "_manifests":
			return w.manifests
		case "_referrers":
			return w.digests(w.referrers)
		case "_uploads":
			return func(path string) (bool, error) { return w.each(path, all(w.upload)) }
		}
		return nil
	})
}

func (w *sweeper) manifests(path string) (bool, error) {
	return w.each(path, only(map[string]visit{
		"revisions": w.digests(w.link),
		"tags":      func(path string) (bool, error) { return w.each(path, all(w.tag)) },
	}))
}

// digests visits what lies at <alg>/<hex>.
func (w *sweeper) digests(v func(path string, d digest.Digest) (bool, error)) visit {
	return func(path string) (bool, error) {
		return w.each(path, func(alg string) visit {
			return func(path string) (bool, error) {
				return w.each(path, func(hex string) visit {
					if !isDigest(alg, hex) {
						return nil
					}
					d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
					return func(path string) (bool, error) { return v(path, d) }
				})
			}
		})
	}
}

// link drops what a repository says of a blob that is gone. The link goes
// first: without it the media type beside it means nothing.
func (w *sweeper) link(path string, d digest.Digest) (bool, error) {
	if w.here(d) {
		return false, nil
	}
	if dropped, err := w.dropLink(filepath.Join(path, "link"), d); err != nil || !dropped {
		return false, err
	}
	if w.empty(path, true) {
		return true, nil
	}
	wanted := func([]byte) bool { return w.here(d) }
	if dropped, err := w.drop(filepath.Join(path, "mediatype"), wanted); err != nil || !dropped {
		return false, err
	}
	return w.clear(path)
}

// tag drops the links of a tag to manifests that are gone.
func (w *sweeper) tag(path string) (bool, error) {
	return w.each(path, only(map[string]visit{"current": w.current, "index": w.digests(w.link)}))
}

func (w *sweeper) current(path string) (bool, error) {
	link := filepath.Join(path, "link")
	wanted := func(content []byte) bool {
		d, err := digest.Parse(strings.TrimSpace(string(content)))
		return err == nil && w.here(d)
	}
	content, err := os.ReadFile(link)
	if err == nil && wanted(content) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if dropped, err := w.drop(link, wanted); err != nil || !dropped {
		return false, err
	}
	return w.clear(path)
}

func (w *sweeper) referrers(path string, d digest.Digest) (bool, error) {
	index := filepath.Join(path, "index.json")
	if w.here(d) || !w.old(index, w.before.Add(-uploadAge)) {
		return false, nil
	}
	if err := os.Remove(index); err != nil {
		return false, ignoreNotExist(err)
	}
	w.swept.Links++
	return w.clear(path)
}

// upload removes a push when nothing in it changed for long.
func (w *sweeper) upload(path string) (bool, error) {
	abandoned := true
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !w.old(path, w.before.Add(-uploadAge)) {
			abandoned = false
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || !abandoned {
		return false, ignoreNotExist(err)
	}
	if err := os.RemoveAll(path); err != nil {
		return false, err
	}
	w.swept.Uploads++
	return true, nil
}

// here says whether the blob is here, also when that can't be known.
func (w *sweeper) here(d digest.Digest) bool {
	if w.mayBeGone != nil && !w.mayBeGone(d) {
		return true
	}
	_, err := w.store.StatBlob(d)
	return !errors.Is(err, fs.ErrNotExist)
}

// blobs removes the directories that a kill between the two steps of Evict
// left in one directory, and that one if it is empty.
func (w *sweeper) blobs(b blobsDir) error {
	return withDir(b.path, func(dir *os.File) error {
		names, err := b.names(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if d := digest.NewDigestFromEncoded(b.alg, name); !w.here(d) {
				if _, err := w.each(filepath.Join(b.path, name), only(nil)); err != nil {
					return err
				}
			}
		}
		if len(names) == 0 {
			w.empty(b.path, false)
		}
		return w.ctx.Err()
	})
}
