package cleaner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

// TestAnyStoreKeepsItsImagesWhole makes stores of whatever kinds of images there
// are, and looks at the files alone: a manifest that is still here has all that
// it had, pinned images are as they were, and no more went than had to.
func TestAnyStoreKeepsItsImagesWhole(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := randomStore(t, r)
		set := config.Cleaner{MaxSize: 1 + r.Int64N(s.bytes(t)), ThresholdPercent: r.IntN(20)}
		if r.IntN(2) == 0 {
			set.Pins = []string{"quay.io/b:t1*"}
		}
		if r.IntN(2) == 0 {
			set.Quotas = []config.Quota{{Path: "quay.io", MaxSize: 1 + r.Int64N(20*blobBytes)}, {Path: "ghcr.io", MaxSize: blobBytes}}
		}
		if r.IntN(3) == 0 {
			set.MaxAge = time.Duration(50+r.IntN(200)) * time.Hour
		}
		before := s.all()
		report := s.run(t, set)
		after := s.all()

		for m, needs := range s.needs {
			for _, d := range needs {
				require.True(t, !after[m] || !before[d] || after[d], "seed %d: %s is here without %s", seed, m, d)
			}
		}
		for _, d := range s.pinned(set.Pins) {
			require.True(t, after[d], "seed %d: %s is pinned", seed, d)
		}
		require.Equal(t, len(before)-len(after), report.Blobs, "seed %d", seed)
		require.Equal(t, s.bytes(t), report.After, "seed %d", seed)
		if report.Missing == 0 {
			require.LessOrEqual(t, report.After, Threshold(set.MaxSize, set.ThresholdPercent), "seed %d", seed)
		}
		if set.Quotas == nil && set.MaxAge == 0 {
			require.GreaterOrEqual(t, report.After, set.MaxSize-blobBytes, "seed %d", seed)
		}
		named := names(report.Images)
		slices.Sort(named)
		require.Equal(t, slices.Compact(slices.Clone(named)), named, "seed %d: once each", seed)
	}
}

// storeOfImages knows what it is made of.
type storeOfImages struct {
	*madeStore
	blobs []digest.Digest
	needs map[digest.Digest][]digest.Digest
	tags  map[string]digest.Digest // by repository:tag
}

// randomStore has images of shared layers, of layers that are not here, indexes
// of some of their images, several tags of one, one in several repositories, and
// blobs of nothing.
func randomStore(t *testing.T, r *rand.Rand) *storeOfImages {
	s := &storeOfImages{newStore(t), nil, map[digest.Digest][]digest.Digest{}, map[string]digest.Digest{}}
	var layers, manifests []digest.Digest
	for i := range 5 + r.IntN(30) {
		layers = append(layers, s.blob(t, fmt.Sprint("layer ", i), r.IntN(300)))
	}
	s.blobs = slices.Clone(layers)
	for i := range 3 + r.IntN(30) {
		kind, from := "layers", layers
		if len(manifests) > 2 && r.IntN(3) == 0 {
			kind, from = "manifests", manifests
		}
		needs := []digest.Digest{digest.FromString(fmt.Sprint("not here ", r.IntN(3)))}
		for range 1 + r.IntN(4) {
			needs = append(needs, from[r.IntN(len(from))])
		}
		text := fmt.Sprintf(`{"n":%d,"mediaType":"x",%q:[{"digest":"%s"}]}`, i, kind, joinDigests(needs))
		m := digest.FromString(text)
		path := s.store.BlobPath(m)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		for range 1 + r.IntN(2) {
			repo := []string{"quay.io/a", "quay.io/b", "ghcr.io/a/b", "without"}[r.IntN(4)]
			require.NoError(t, s.store.Link(repo, images.Manifest, m))
			for _, d := range needs[1:] {
				if kind == "layers" {
					require.NoError(t, s.store.Link(repo, images.Layer, d))
				}
			}
			for range r.IntN(3) {
				tag := fmt.Sprint("t", r.IntN(20))
				require.NoError(t, s.store.SetTag(repo, tag, m))
				s.tags[repo+":"+tag] = m
			}
		}
		s.used(t, m, r.IntN(300))
		s.needs[m], manifests = needs, append(manifests, m)
	}
	s.blobs = append(s.blobs, manifests...)
	return s
}

func joinDigests(list []digest.Digest) string {
	var text []string
	for _, d := range list {
		text = append(text, d.String())
	}
	return strings.Join(text, `"},{"digest":"`)
}

// all are the blobs that are here.
func (s *storeOfImages) all() map[digest.Digest]bool {
	here := map[digest.Digest]bool{}
	for _, d := range s.blobs {
		if s.here(d) {
			here[d] = true
		}
	}
	return here
}

// pinned are the blobs that the pins of quay.io/b:t1* keep.
func (s *storeOfImages) pinned(pins []string) []digest.Digest {
	kept := map[digest.Digest]bool{}
	var keep func(d digest.Digest)
	keep = func(d digest.Digest) {
		if slices.Contains(s.blobs, d) && !kept[d] {
			kept[d] = true
			for _, need := range s.needs[d] {
				keep(need)
			}
		}
	}
	for name, d := range s.tags {
		if len(pins) > 0 && strings.HasPrefix(name, "quay.io/b:t1") {
			keep(d)
		}
	}
	return slices.Collect(maps.Keys(kept))
}
