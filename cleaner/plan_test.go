package cleaner

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

// named is a plan of blobs named by single letters.
type named struct {
	*plan
	names []string
}

func made(used map[string]int64, needs ...string) named {
	v := named{&plan{taken: 1 << 60}, slices.Sorted(maps.Keys(used))}
	for _, name := range v.names {
		v.blobs = append(v.blobs, blob{10, used[name]})
	}
	for _, n := range needs {
		v.needs = append(v.needs, images.Need{From: v.place(n[:1]), To: v.place(n[1:])})
	}
	slices.SortFunc(v.needs, func(a, b images.Need) int { return cmp.Compare(a.From, b.From) })
	return v
}

func (v named) place(name string) int32 { return int32(slices.Index(v.names, name)) }

// owned gives blobs to upstreams, with the quotas of the first ones.
func (v named) owned(quotas int, owners ...string) named {
	v.owner = make([]uint16, len(v.blobs))
	v.quota = []int{-1}
	for i, blobs := range owners {
		v.quota = append(v.quota, -1)
		if i < quotas {
			v.quota[i+1] = i
		}
		for _, name := range blobs {
			v.own(v.place(string(name)), uint16(i+1))
		}
	}
	v.inherit()
	return v
}

// evicted lists what goes; what is in stay is in use.
func evicted(v named, g goal, stay ...string) (names string) {
	v.choose(g, func(batch []choice) []bool {
		gone := make([]bool, len(batch))
		for n, one := range batch {
			name := v.names[one.blob]
			if gone[n] = !slices.Contains(stay, name); gone[n] {
				names += name
			}
		}
		return gone
	})
	return names
}

func TestEvictionOrder(t *testing.T) {
	all := goal{reclaim: 1 << 40}
	for name, c := range map[string]struct {
		v    named
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
		"quota": {v: made(map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4}).owned(1, "bd", "ac"),
			goal: goal{quotas: []int64{5}}, want: "b"},
		"quota counts for the limit": {v: made(map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4}).owned(1, "bd", "ac"),
			goal: goal{quotas: []int64{15}, reclaim: 30}, want: "bda"},
		"age counts for the quota": {v: made(map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4}).owned(1, "abcd"),
			goal: goal{quotas: []int64{15}, unusedSince: when(2)}, want: "ab"},
		"what two upstreams have counts for none": {v: made(map[string]int64{"a": 1, "m": 2, "n": 3}, "ma", "na").owned(2, "m", "n"),
			goal: goal{quotas: []int64{100, 100}}, want: "mn"},
		"quotas of two": {v: made(map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4}).owned(2, "ab", "cd"),
			goal: goal{quotas: []int64{1, 11}}, want: "acd"},
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
		v := randomPlan(r)
		gone := make([]bool, len(v.blobs))
		total := int64(0)
		for _, b := range v.blobs {
			total += b.allocated
		}
		g := goal{reclaim: r.Int64N(total + 1)}
		if r.IntN(3) == 0 {
			g.unusedSince = time.Unix(0, r.Int64N(100))
		}
		if r.IntN(3) == 0 {
			randomQuotas(r, v)
			g.quotas = []int64{r.Int64N(total + 1), r.Int64N(total + 1)}
		}
		var freed int64
		missing := v.choose(g, func(batch []choice) []bool {
			went := make([]bool, len(batch))
			for n, one := range batch {
				if went[n] = r.IntN(10) > 0; went[n] {
					require.False(t, gone[one.blob], "twice")
					freed += v.blobs[one.blob].allocated
				}
				for _, need := range v.needs {
					require.False(t, need.To == one.blob && !gone[need.From],
						"seed %d: %d is to go, which %d needs", seed, need.To, need.From)
				}
			}
			for n, one := range batch {
				gone[one.blob] = gone[one.blob] || went[n]
			}
			return went
		})
		require.GreaterOrEqual(t, missing, g.reclaim-freed)
		if g.quotas == nil {
			require.Equal(t, max(0, g.reclaim-freed), missing)
			require.True(t, !g.unusedSince.IsZero() || freed < g.reclaim+largest, "more went than had to")
		}
		for i := range v.blobs {
			require.True(t, missing == 0 || gone[i] || v.blobs[i].used == kept || g.quotas != nil || lastUseOf(v, i) == kept,
				"seed %d: %d could have gone", seed, i)
		}
	}
}

// all removes what it is asked to.
func all(batch []choice) []bool { return slices.Repeat([]bool{true}, len(batch)) }

func TestAnEvictionEndsWhenItIsTold(t *testing.T) {
	v := made(map[string]int64{"a": 1, "b": 2, "m": 3}, "ma")
	calls := 0
	missing := v.choose(goal{reclaim: 30}, func([]choice) []bool { calls++; return nil })
	require.Equal(t, 1, calls)
	require.EqualValues(t, 30, missing)
}

// What was used meanwhile is made up for by others, as late as they come.
func TestAnEvictionMakesUpForWhatStays(t *testing.T) {
	v := made(map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4}).owned(1, "abcd")
	require.Equal(t, "cd", evicted(v, goal{quotas: []int64{20}}, "a", "b"))
}

// Quotas are reached one after the other. When more has to go for one of them
// because something stayed, what was passed over before is first.
func TestWhatStaysBreaksNoImageOfAnotherQuota(t *testing.T) {
	const stays, manifest, layer, others = 0, 1, 2, 3
	p := &plan{taken: 100, quota: []int{-1, 0, 1}, needs: []images.Need{{From: manifest, To: layer}}}
	for used := range int64(3) {
		p.blobs = append(p.blobs, blob{10, 1 + 2*used})
		p.owner = append(p.owner, 1)
	}
	for range maxBatch {
		p.blobs = append(p.blobs, blob{10, 4})
		p.owner = append(p.owner, 2)
	}
	var order []int32
	p.choose(goal{quotas: []int64{10, 10 * maxBatch}}, func(batch []choice) []bool {
		gone := make([]bool, len(batch))
		for n, one := range batch {
			if gone[n] = one.blob != stays; gone[n] && one.blob < others {
				order = append(order, one.blob)
			}
		}
		return gone
	})
	require.Equal(t, []int32{manifest}, order)
}

func lastUseOf(v *plan, i int) int64 {
	lastUse, _ := v.age()
	return lastUse[i]
}

// largest is more than any blob of a random plan has.
const largest = 1000

func randomPlan(r *rand.Rand) *plan {
	v := &plan{taken: 90}
	n := 1 + r.IntN(60)
	for range n {
		used := r.Int64N(100)
		if r.IntN(10) == 0 {
			used = kept
		}
		v.blobs = append(v.blobs, blob{r.Int64N(largest), used})
	}
	// A manifest needs only what has a higher place in a shuffled order, as
	// digests allow no circle.
	order := r.Perm(n)
	for range r.IntN(3 * n) {
		a, b := r.IntN(n), r.IntN(n)
		if a != b {
			v.needs = append(v.needs, images.Need{From: int32(order[min(a, b)]), To: int32(order[max(a, b)])})
		}
	}
	slices.SortFunc(v.needs, func(a, b images.Need) int { return cmp.Compare(a.From, b.From) })
	return v
}

func randomQuotas(r *rand.Rand, v *plan) {
	v.owner = make([]uint16, len(v.blobs))
	v.quota = []int{-1, 0, 1, -1}
	for i := range v.blobs {
		if owner := r.IntN(4); owner != nobody {
			v.own(int32(i), uint16(owner))
		}
	}
	v.inherit()
}

func BenchmarkChoose(b *testing.B) {
	const n = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		b.StopTimer()
		v := &plan{blobs: make([]blob, n), taken: kept - 1}
		for i := range v.blobs {
			v.blobs[i] = blob{4096, r.Int64N(1 << 60)}
		}
		for m := range int32(100_000) {
			for range 9 {
				v.needs = append(v.needs, images.Need{From: m, To: 100_000 + r.Int32N(900_000)})
			}
		}
		b.StartTimer()
		v.choose(goal{reclaim: 100_000 * 4096}, all)
	}
}
