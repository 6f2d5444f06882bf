package cleaner

import (
	"cmp"
	"math"
	"slices"
)

// choice is a blob that is to go.
type choice struct {
	blob int32
	why  Why
}

// maxBatch is how many blobs are removed at once: enough to share the work,
// and little enough to stop soon.
const maxBatch = 1024

// chooser carries a plan out.
type chooser struct {
	*plan
	// lastUse and depth are those of plan.age.
	lastUse []int64
	depth   []uint8
	chosen  []bool
	// left is what is still to go, and quotas are that of each upstream.
	left   int64
	quotas []int64
	batch  []choice
	remove func([]choice) []bool
	// refused says that something stayed that was chosen.
	refused, stopped bool
}

// choose calls remove for batches of blobs, least recently used first, until
// the goal is reached or nothing is left that may go. A blob was used last when
// it or a manifest that needs it was, and no batch has both a manifest and what
// it needs: that comes in a later one. So no image ever looks whole but is not,
// wherever this ends, and a blob that several images share stays for the last
// of them.
//
// What is too old or over a quota goes first, since it counts for the limit
// too. remove answers what is gone, or nil to end this. What it does not remove
// stays, and so does all that it needs. What is returned are the bytes that
// should have gone and did not.
func (p *plan) choose(g goal, remove func([]choice) (gone []bool)) (missing int64) {
	c := chooser{
		plan: p, chosen: make([]bool, len(p.blobs)), left: g.reclaim, quotas: slices.Clone(g.quotas), remove: remove,
	}
	c.lastUse, c.depth = p.age()
	order := make([]int32, len(p.blobs))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(c.lastUse[a], c.lastUse[b]), cmp.Compare(c.depth[a], c.depth[b]), cmp.Compare(a, b))
	})
	unusedSince := int64(math.MinInt64)
	if !g.unusedSince.IsZero() {
		unusedSince = g.unusedSince.UnixNano()
	}
	c.pass(order, func(i int32) (Why, bool) {
		if c.lastUse[i] < unusedSince {
			return Unused, true
		}
		quota := p.quotaOf(i)
		return OverQuota, quota >= 0 && c.quotas[quota] > 0
	})
	c.pass(order, func(int32) (Why, bool) { return g.why, c.left > 0 })
	missing = max(0, c.left)
	for _, left := range c.quotas {
		missing = max(missing, left)
	}
	return missing
}

// pass removes what due says is due. When it is asked, what it chose before
// counts as gone; as soon as it turns out that something was not, others may be
// due instead, and they are looked for from the start, since a manifest that was
// passed over is before what it needs.
func (c *chooser) pass(order []int32, due func(i int32) (Why, bool)) {
	for again := true; again; again = c.refused && !c.stopped {
		c.refused = false
		for _, i := range order {
			if c.chosen[i] || c.blobs[i].used == kept || c.lastUse[i] == kept {
				continue
			}
			why, yes := due(i)
			if !yes {
				continue
			}
			c.add(choice{i, why})
			if len(c.batch) < maxBatch {
				continue
			}
			if c.flush(); c.refused || c.stopped {
				break
			}
		}
		c.flush()
	}
}

func (c *chooser) add(one choice) {
	c.chosen[one.blob] = true
	c.count(one.blob, -1)
	c.batch = append(c.batch, one)
}

// count adds a blob to what is still to go, or takes it off.
func (c *chooser) count(i int32, sign int64) {
	bytes := sign * c.blobs[i].allocated
	c.left += bytes
	if quota := c.quotaOf(i); quota >= 0 {
		c.quotas[quota] += bytes
	}
}

// flush removes the batch, manifests before what they need.
func (c *chooser) flush() {
	slices.SortStableFunc(c.batch, func(a, b choice) int { return cmp.Compare(c.depth[a.blob], c.depth[b.blob]) })
	for len(c.batch) > 0 {
		depth := c.depth[c.batch[0].blob]
		end := slices.IndexFunc(c.batch, func(one choice) bool { return c.depth[one.blob] != depth })
		if end < 0 {
			end = len(c.batch)
		}
		level := slices.DeleteFunc(slices.Clone(c.batch[:end]), func(one choice) bool {
			stays := c.blobs[one.blob].used == kept // since what needs it stays
			if stays {
				c.stay(one.blob)
			}
			return stays
		})
		c.batch = c.batch[end:]
		var gone []bool
		if !c.stopped && len(level) > 0 {
			gone = c.remove(level)
			c.stopped = gone == nil
		}
		for n, one := range level {
			if c.stopped || !gone[n] {
				c.keep(one.blob)
				c.stay(one.blob)
			}
		}
	}
	c.batch = c.batch[:0]
}

// stay takes back that a blob was chosen.
func (c *chooser) stay(i int32) {
	c.count(i, 1)
	c.refused = true
}

// total is how many bytes go if nothing stands in the way.
func (p *plan) total(g goal) (bytes int64) {
	p.choose(g, func(batch []choice) []bool {
		for _, one := range batch {
			bytes += p.blobs[one.blob].allocated
		}
		return slices.Repeat([]bool{true}, len(batch))
	})
	return bytes
}
