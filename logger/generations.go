package logger

// generations is a map of bounded size: when the young half is full it becomes
// the old half, and the former old half is forgotten.
type generations[K comparable, V any] struct {
	// limit is the size of one half.
	limit      int
	size       int
	young, old map[K]V
}

func newGenerations[K comparable, V any](limit int) *generations[K, V] {
	return &generations[K, V]{limit: limit, young: map[K]V{}}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	if v, ok := g.young[k]; ok {
		return v, true
	}
	v, ok := g.old[k]
	return v, ok
}

// put adds what takes so much of the limit. To put what is there again keeps
// it young.
func (g *generations[K, V]) put(k K, v V, size int) {
	if _, ok := g.young[k]; !ok {
		if g.size > 0 && g.size+size > g.limit {
			g.old, g.young, g.size = g.young, map[K]V{}, 0
		}
		g.size += size
	}
	g.young[k] = v
}
