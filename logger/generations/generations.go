// Package generations has a map of bounded size that forgets what was not put
// for long.
package generations

// Map has a young and an old half: when the young one is full it becomes the
// old one, and the former old one is forgotten. It is for one goroutine. Use
// New.
type Map[K comparable, V any] struct {
	// limit is the size of one half.
	limit      int
	size       int
	young, old map[K]V
}

// New makes a Map of two halves of so much each.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, young: map[K]V{}}
}

// Get returns what was put, if it was not forgotten.
func (m *Map[K, V]) Get(k K) (V, bool) {
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	return v, ok
}

// Put adds what takes so much of the limit. To put what is there again keeps
// it young.
func (m *Map[K, V]) Put(k K, v V, size int) {
	if _, ok := m.young[k]; !ok {
		if m.size > 0 && m.size+size > m.limit {
			m.old, m.young, m.size = m.young, map[K]V{}, 0
		}
		m.size += size
	}
	m.young[k] = v
}
