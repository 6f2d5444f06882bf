package cleaner

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// blob is what choosing needs to know of a blob; there may be millions.
type blob struct {
	digest    digest.Digest
	allocated int64
	// used is in nanoseconds since 1970, or kept.
	used int64
}

// kept is the last use of what must stay.
const kept = math.MaxInt64

// need says that the blob at from, a manifest, needs the one at to.
type need struct{ from, to int32 }

// maxDepth is how deep indexes may be nested to be told apart.
const maxDepth = 100

// inventory is what the store holds.
type inventory struct {
	// blobs are sorted by digest.
	blobs []blob
	needs []need
	// taken is when it was listed. A use after that is a clock gone wrong.
	taken int64
	// young are the bytes of blobs that may not go yet.
	young int64
}

// find returns where a digest is in blobs.
func (v *inventory) find(d digest.Digest) (int32, bool) {
	i, ok := slices.BinarySearchFunc(v.blobs, d, func(b blob, d digest.Digest) int { return cmp.Compare(b.digest, d) })
	return int32(i), ok
}

// evict calls remove for one blob after the other, least recently used first,
// until the goal is reached or nothing is left that may go. A blob was used
// last when it or a manifest that needs it was, and a manifest comes before
// what it needs. So no image ever looks whole but is not, wherever this ends,
// and a blob that several images share stays for the last of them.
//
// What remove does not remove stays, and so does all that it needs.
func (v *inventory) evict(g goal, remove func(b *blob) bool) {
	slices.SortFunc(v.needs, func(a, b need) int { return cmp.Compare(a.from, b.from) })
	lastUse, depth := v.age()
	order := make([]int32, len(v.blobs))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(lastUse[a], lastUse[b]), cmp.Compare(depth[a], depth[b]), cmp.Compare(a, b))
	})
	unusedSince := int64(math.MinInt64)
	if !g.unusedSince.IsZero() {
		unusedSince = g.unusedSince.UnixNano()
	}
	var freed int64
	for _, i := range order {
		if freed >= g.reclaim && lastUse[i] >= unusedSince {
			return
		}
		if v.blobs[i].used == kept || lastUse[i] == kept {
			continue
		}
		if remove(&v.blobs[i]) {
			freed += v.blobs[i].allocated
		} else {
			v.keep(i)
		}
	}
}

// age returns the last use of each blob, its own or that of what needs it, and
// how deep below manifests it lies.
func (v *inventory) age() (lastUse []int64, depth []uint8) {
	lastUse, depth = make([]int64, len(v.blobs)), make([]uint8, len(v.blobs))
	for i, b := range v.blobs {
		if lastUse[i] = b.used; b.used != kept {
			lastUse[i] = min(b.used, v.taken)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, n := range v.needs {
			if lastUse[n.to] < lastUse[n.from] {
				lastUse[n.to] = lastUse[n.from]
				changed = true
			}
			if depth[n.to] <= depth[n.from] && depth[n.from] < maxDepth {
				depth[n.to] = depth[n.from] + 1
				changed = true
			}
		}
	}
	return lastUse, depth
}

// keep marks a blob, and all it needs, as one that must stay.
func (v *inventory) keep(i int32) {
	if v.blobs[i].used == kept {
		return
	}
	v.blobs[i].used = kept
	first, _ := slices.BinarySearchFunc(v.needs, i, func(n need, i int32) int { return cmp.Compare(n.from, i) })
	for _, n := range v.needs[first:] {
		if n.from != i {
			break
		}
		v.keep(n.to)
	}
}

// when is the inverse of blob.used.
func when(used int64) time.Time { return time.Unix(0, used) }
