package cleaner

import (
	"cmp"
	"math"
	"slices"
	"time"

	"registrycache/images"
)

// Why says why something goes.
type Why string

const (
	// OverLimit is to get the store below its limit.
	OverLimit Why = "limit"
	// OverQuota is to get the images of an upstream below its maxSize.
	OverQuota Why = "quota"
	// DiskShort is to have more of the disk free.
	DiskShort Why = "disk"
	// Unused is that nobody used it for too long.
	Unused Why = "age"
)

// kept is the last use of what must stay.
const kept = math.MaxInt64

// maxDepth is how deep indexes may be nested to be told apart.
const maxDepth = 100

// blob is what choosing needs to know of a blob.
type blob struct {
	allocated int64
	// used is in nanoseconds since 1970, or kept.
	used int64
}

// Owners of a blob, besides the upstreams, which are counted from 1.
const (
	nobody  = 0
	several = math.MaxUint16
)

// plan is what may go, blobs told by their place in the inventory.
type plan struct {
	blobs []blob
	// needs are sorted by From.
	needs []images.Need
	// owner is the upstream that a blob counts for; nil when there are no
	// quotas.
	owner []uint16
	// quota is the place of an owner's quota in goal.quotas, or -1.
	quota []int
	// taken is when it was listed. A use after that is a clock gone wrong.
	taken int64
	// keptBytes is how much was marked as what must stay.
	keptBytes int64
}

// quotaOf is the place of the quota that a blob counts for, or -1.
func (p *plan) quotaOf(i int32) int {
	if p.owner == nil || p.owner[i] == several {
		return -1
	}
	return p.quota[p.owner[i]]
}

// age returns the last use of each blob, its own or that of what needs it, and
// how deep below manifests it lies.
func (p *plan) age() (lastUse []int64, depth []uint8) {
	lastUse, depth = make([]int64, len(p.blobs)), make([]uint8, len(p.blobs))
	for i, b := range p.blobs {
		if lastUse[i] = b.used; b.used != kept {
			lastUse[i] = min(b.used, p.taken)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, n := range p.needs {
			if lastUse[n.To] < lastUse[n.From] {
				lastUse[n.To] = lastUse[n.From]
				changed = true
			}
			if depth[n.To] <= depth[n.From] && depth[n.From] < maxDepth {
				depth[n.To] = depth[n.From] + 1
				changed = true
			}
		}
	}
	return lastUse, depth
}

// oldest is the first use of what is not gone and may go at all; zero when
// there is none.
func (p *plan) oldest(gone []bool) time.Time {
	lastUse, _ := p.age()
	oldest := int64(kept)
	for i, used := range lastUse {
		if !gone[i] && p.blobs[i].used != kept {
			oldest = min(oldest, used)
		}
	}
	if oldest == kept {
		return time.Time{}
	}
	return when(oldest)
}

// keep marks a blob, and all it needs, as one that must stay.
func (p *plan) keep(i int32) {
	if p.blobs[i].used == kept {
		return
	}
	p.blobs[i].used = kept
	p.keptBytes += p.blobs[i].allocated
	first, _ := slices.BinarySearchFunc(p.needs, i, func(n images.Need, i int32) int { return cmp.Compare(n.From, i) })
	for _, n := range p.needs[first:] {
		if n.From != i {
			break
		}
		p.keep(n.To)
	}
}

// own counts a blob for an upstream; what is of several counts for none.
func (p *plan) own(i int32, owner uint16) (changed bool) {
	switch p.owner[i] {
	case owner, several:
		return false
	case nobody:
		p.owner[i] = owner
	default:
		p.owner[i] = several
	}
	return true
}

// inherit counts what manifests need for the upstreams of the manifests.
func (p *plan) inherit() {
	for changed := true; changed; {
		changed = false
		for _, n := range p.needs {
			owner := p.owner[n.From]
			if owner == nobody {
				owner = several // of no upstream's quota either
			}
			if p.own(n.To, owner) {
				changed = true
			}
		}
	}
}

// when is the inverse of blob.used.
func when(used int64) time.Time { return time.Unix(0, used) }
