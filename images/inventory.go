package images

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Inventory is what the store held when it was taken. Blobs are told by their
// place in Blobs, so that a million of them with a hundred thousand manifests
// fit in some 100 MB. Blobs that came or went while it was taken may be in it
// or not.
//
// Take gives the blobs alone; Relate adds what they are to each other.
type Inventory struct {
	// Blobs are in the order of Digest.
	Blobs []Held
	// Taken is when the walk began.
	Taken time.Time

	// Needs say which manifest needs which blob, by From.
	Needs []Need
	// Manifests are all blobs that a repository has linked as a manifest, and
	// that are one, by Blob.
	Manifests []HeldManifest
	// Links say which repository has which manifest, by repository.
	Links []ManifestLink
	// Repositories are the names of those that Links speak of, sorted.
	Repositories []string
	// Wanted are needed by manifests that landed after the blobs were listed.
	Wanted []int32

	store *Store
	keys  keys
	// starts are the places in Blobs where those begin whose keys begin with
	// the same two bytes, and the end: what is looked up lies close together.
	starts []int32
	// platforms are those that indexes name for the manifests they list.
	platforms map[int32]string
}

// Held is a complete blob.
type Held struct {
	key key
	// Allocated is the disk space it takes, in bytes.
	Allocated int64
	// Used is when it was last used as far as that was recorded, and Landed
	// when its bytes were complete, both in nanoseconds since 1970.
	Used, Landed int64
}

// Need says that the manifest From can't be used without To.
type Need struct{ From, To int32 }

// HeldManifest is a manifest or an index.
type HeldManifest struct {
	Blob      int32
	MediaType string
	// Listed is the number of manifests that an index lists, here or not, and
	// Attestations is how many of those only say something about others.
	Listed, Attestations int32
	// Missing is the number of blobs it needs that are not here.
	Missing int32
	// config is the blob that has the platform of an image, or -1.
	config int32
}

// ManifestLink says that a repository has a manifest.
type ManifestLink struct {
	// Repository is a place in Inventory.Repositories.
	Repository int32
	// Blob is a place in Inventory.Blobs.
	Blob int32
}

// Take lists the blobs of the store.
func (s *Store) Take(ctx context.Context) (*Inventory, error) {
	v := &Inventory{store: s, Taken: time.Now(), keys: keys{longer: map[key]digest.Digest{}}}
	dirs, err := s.blobDirs()
	if err != nil {
		return nil, err
	}
	err = inOrder(ctx, dirs, listBlobs, func(found blobList) {
		if v.Blobs == nil {
			// The hashes are spread evenly.
			v.Blobs = make([]Held, 0, len(found.held)*len(dirs)*9/8+64)
		}
		v.Blobs = append(v.Blobs, found.held...)
		for i, d := range found.longer {
			v.keys.longer[found.held[i].key] = d
		}
	})
	if err != nil {
		return nil, err
	}
	if len(v.Blobs) > math.MaxInt32 {
		return nil, errors.New("the store has more than 2^31 blobs")
	}
	if byKey := func(a, b Held) int { return a.key.compare(b.key) }; !slices.IsSortedFunc(v.Blobs, byKey) {
		slices.SortFunc(v.Blobs, byKey)
	}
	v.starts = make([]int32, 1<<16+1)
	for _, b := range v.Blobs {
		v.starts[b.key.start()+1]++
	}
	for i := range v.starts[1:] {
		v.starts[i+1] += v.starts[i]
	}
	return v, nil
}

// Digest returns the digest of a blob.
func (v *Inventory) Digest(i int32) digest.Digest { return v.keys.digest(v.Blobs[i].key) }

// Find returns where a blob is in Blobs.
func (v *Inventory) Find(d digest.Digest) (int32, bool) {
	k, ok := keyOf(d)
	if !ok {
		return 0, false
	}
	first, end := v.starts[k.start()], v.starts[k.start()+1]
	i, ok := slices.BinarySearchFunc(v.Blobs[first:end], k, func(b Held, k key) int { return b.key.compare(k) })
	return first + int32(i), ok && v.keys.has(k, d)
}

// NeedsOf returns the part of Needs that is of one manifest.
func (v *Inventory) NeedsOf(i int32) []Need {
	first, _ := slices.BinarySearchFunc(v.Needs, i, func(n Need, i int32) int { return cmp.Compare(n.From, i) })
	end := first
	for end < len(v.Needs) && v.Needs[end].From == i {
		end++
	}
	return v.Needs[first:end]
}

// blobsDir is one directory blobs/<alg>/<hh>.
type blobsDir struct {
	alg    digest.Algorithm
	prefix string
	path   string
}

func (s *Store) blobDirs() ([]blobsDir, error) {
	blobs := filepath.Join(s.root, "blobs")
	algs, err := subdirs(blobs)
	if err != nil {
		return nil, err
	}
	var dirs []blobsDir
	for _, alg := range algs {
		if hexDigits(alg) == 0 {
			continue // no algorithm, such as lost+found, which only root may read
		}
		prefixes, err := subdirs(filepath.Join(blobs, alg))
		if err != nil {
			return nil, err
		}
		for _, prefix := range prefixes {
			dirs = append(dirs, blobsDir{digest.Algorithm(alg), prefix, filepath.Join(blobs, alg, prefix)})
		}
	}
	return dirs, nil
}

// names are those in the directory that are digests, sorted.
func (b blobsDir) names(dir *os.File) ([]string, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, b.prefix) || !isDigest(b.alg.String(), name)
	})
	slices.Sort(names)
	return names, nil
}

// blobList is what one directory holds.
type blobList struct {
	held   []Held
	longer map[int]digest.Digest
}

func listBlobs(ctx context.Context, b blobsDir) (list blobList, err error) {
	if err := ctx.Err(); err != nil {
		return list, err
	}
	err = withDir(b.path, func(dir *os.File) error {
		names, err := b.names(dir)
		if err != nil {
			return err
		}
		list.held = make([]Held, 0, len(names))
		for _, name := range names {
			var st unix.Stat_t
			err := unix.Fstatat(int(dir.Fd()), name+"/data", &st, unix.AT_SYMLINK_NOFOLLOW)
			if absent(err) {
				continue
			}
			if err != nil {
				return &fs.PathError{Op: "stat", Path: filepath.Join(b.path, name, "data"), Err: err}
			}
			if st.Mode&unix.S_IFMT == unix.S_IFIFO {
				continue // whoever opens it waits for ever
			}
			d := digest.NewDigestFromEncoded(b.alg, name)
			k, _ := keyOf(d)
			if b.alg != digest.SHA256 {
				if list.longer == nil {
					list.longer = map[int]digest.Digest{}
				}
				list.longer[len(list.held)] = d
			}
			list.held = append(list.held, Held{
				key: k, Allocated: allocated(&st), Used: st.Atim.Nano(), Landed: st.Mtim.Nano(),
			})
		}
		return nil
	})
	return list, err
}

// allocated counts in blocks of 512 bytes, whatever the file system's are.
func allocated(st *unix.Stat_t) int64 { return st.Blocks * 512 }
