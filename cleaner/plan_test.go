package cleaner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// made is an inventory of blobs named by single letters.
func made(used map[string]int64, needs ...string) *inventory {
	v := &inventory{taken: 1 << 60}
	for name, u := range used {
		v.blobs = append(v.blobs, blob{digest.Digest(name), 10, u})
	}
	slices.SortFunc(v.blobs, func(a, b blob) int { return compare(a.digest, b.digest) })
	for _, n := range needs {
		from, _ := v.find(digest.Digest(n[:1]))
		to, _ := v.find(digest.Digest(n[1:]))
		v.needs = append(v.needs, need{from, to})
	}
	return v
}

func compare(a, b digest.Digest) int {
	if a < b {
		return -1
	}
	return 1
}

// evicted lists what goes; what is in stay is in use.
func evicted(v *inventory, g goal, stay ...string) (names string) {
	v.evict(g, func(b *blob) bool {
		if slices.Contains(stay, string(b.digest)) {
			return false
		}
		names += string(b.digest)
		return true
	})
	return names
}

func TestEvictionOrder(t *testing.T) {
	all := goal{reclaim: 1 << 40}
	for name, c := range map[string]struct {
		v    *inventory
		goal goal
		stay []string
		want string
	}{
		"oldest first":           {v: made(map[string]int64{"a": 3, "b": 1, "c": 2}), goal: all, want: "bca"},
		"no more than needed":    {v: made(map[string]int64{"a": 3, "b": 1, "c": 2}), goal: goal{reclaim: 11}, want: "bc"},
		"exactly enough":         {v: made(map[string]int64{"a": 3, "b": 1, "c": 2}), goal: goal{reclaim: 20}, want: "bc"},
		"nothing to do":          {v: made(map[string]int64{"a": 3}), want: ""},
		"too old":                {v: made(map[string]int64{"a": 3, "b": 1, "c": 2}), goal: goal{unusedSince: when(3)}, want: "bc"},
		"too old and too much":   {v: made(map[string]int64{"a": 3, "b": 1, "c": 2, "d": 4}), goal: goal{reclaim: 30, unusedSince: when(2)}, want: "bca"},
		"manifest first":         {v: made(map[string]int64{"a": 5, "m": 5}, "ma"), goal: all, want: "ma"},
		"index first":            {v: made(map[string]int64{"a": 5, "m": 5, "z": 5}, "ma", "zm"), goal: all, want: "zma"},
		"used with its manifest": {v: made(map[string]int64{"a": 1, "m": 5, "x": 3}, "ma"), goal: all, want: "xma"},
		"used with its index":    {v: made(map[string]int64{"a": 1, "m": 2, "z": 5, "x": 3}, "ma", "zm"), goal: all, want: "xzma"},
		"shared by two images":   {v: made(map[string]int64{"a": 1, "m": 2, "n": 4, "x": 3}, "ma", "na"), goal: all, want: "mxna"},
		"new stays":              {v: made(map[string]int64{"a": 1, "b": kept}), goal: all, want: "a"},
		"new keeps what it needs": {v: made(map[string]int64{"a": 1, "m": 1, "z": kept, "x": 1}, "ma", "zm"),
			goal: all, want: "x"},
		"in use": {v: made(map[string]int64{"a": 1, "b": 2, "c": 3}), goal: goal{reclaim: 20}, stay: []string{"a"}, want: "bc"},
		"in use keeps what it needs": {v: made(map[string]int64{"a": 1, "m": 1, "z": 1, "x": 2}, "ma", "zm"),
			goal: goal{reclaim: 10}, stay: []string{"z"}, want: "x"},
		"a use to come is one of now": {v: made(map[string]int64{"a": 1<<60 + 1, "b": 1 << 60}), goal: all, want: "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, evicted(c.v, c.goal, c.stay...))
		})
	}
}

// TestNoImageLooksWholeButIsNot holds for any store, wherever the eviction
// ends, and whatever is used meanwhile.
func TestNoImageLooksWholeButIsNot(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		v := randomInventory(r)
		needs := slices.Clone(v.needs)
		gone := make([]bool, len(v.blobs))
		total := int64(0)
		for _, b := range v.blobs {
			total += b.allocated
		}
		g := goal{reclaim: r.Int64N(total + 1)}
		if r.IntN(3) == 0 {
			g.unusedSince = time.Unix(0, r.Int64N(100))
		}
		var freed int64
		v.evict(g, func(b *blob) bool {
			require.False(t, freed >= g.reclaim && g.unusedSince.IsZero(), "more went than had to")
			if r.IntN(10) == 0 {
				return false
			}
			i, ok := v.find(b.digest)
			require.True(t, ok)
			require.False(t, gone[i], "twice")
			gone[i] = true
			freed += b.allocated
			for _, n := range needs {
				require.False(t, gone[n.to] && !gone[n.from], "seed %d: %d is gone, which %d needs", seed, n.to, n.from)
			}
			return true
		})
	}
}

func randomInventory(r *rand.Rand) *inventory {
	v := &inventory{taken: 90}
	n := 1 + r.IntN(60)
	for i := range n {
		used := r.Int64N(100)
		if r.IntN(10) == 0 {
			used = kept
		}
		v.blobs = append(v.blobs, blob{digest.Digest(fmt.Sprintf("%03d", i)), r.Int64N(1000), used})
	}
	// A manifest needs only what has a higher place in a shuffled order, as
	// digests allow no circle.
	order := r.Perm(n)
	for range r.IntN(3 * n) {
		a, b := r.IntN(n), r.IntN(n)
		if a != b {
			v.needs = append(v.needs, need{int32(order[min(a, b)]), int32(order[max(a, b)])})
		}
	}
	return v
}

func TestFindIsExact(t *testing.T) {
	v := made(map[string]int64{"a": 1, "c": 1})
	for name, want := range map[string]bool{"a": true, "c": true, "": false, "b": false, "d": false} {
		_, ok := v.find(digest.Digest(name))
		require.Equal(t, want, ok, name)
	}
}

func BenchmarkEvictPlan(b *testing.B) {
	const n = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		b.StopTimer()
		v := &inventory{blobs: make([]blob, n), taken: kept - 1}
		for i := range v.blobs {
			v.blobs[i] = blob{"", 4096, r.Int64N(1 << 60)}
		}
		for m := range int32(100_000) {
			for range 9 {
				v.needs = append(v.needs, need{m, 100_000 + r.Int32N(900_000)})
			}
		}
		b.StartTimer()
		v.evict(goal{reclaim: 100_000 * 4096}, func(*blob) bool { return true })
	}
}
