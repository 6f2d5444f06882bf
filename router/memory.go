package router

import (
	"crypto/sha256"
	"sync"
	"time"
)

// identity stands for a credential.
type identity [sha256.Size]byte

// memory is a bounded set of identities that each stay for the same time, so
// that the oldest is always the next to go.
type memory struct {
	limit int
	ttl   time.Duration

	mu    sync.Mutex
	until map[identity]time.Time
	order []identity // oldest first
}

func newMemory(limit int, ttl time.Duration) *memory {
	return &memory{limit: limit, ttl: ttl, until: make(map[identity]time.Time)}
}

func (m *memory) has(id identity, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.until[id]
	return ok && now.Before(until)
}

func (m *memory) add(id identity, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.order) > 0 && !now.Before(m.until[m.order[0]]) {
		m.drop()
	}
	if _, ok := m.until[id]; ok {
		return
	}
	if len(m.order) == m.limit {
		m.drop()
	}
	m.until[id] = now.Add(m.ttl)
	m.order = append(m.order, id)
}

func (m *memory) drop() {
	delete(m.until, m.order[0])
	m.order = m.order[1:]
}
