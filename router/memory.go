package router

import (
	"crypto/sha256"
	"sync"
	"time"
)

// identity stands for a credential.
type identity [sha256.Size]byte

// memory is a bounded set of identities, and the users they stand for, that
// each stay for the same time, so that the oldest is always the next to go.
type memory struct {
	limit int
	ttl   time.Duration

	mu    sync.Mutex
	known map[identity]known
	order []identity // oldest first
}

type known struct {
	user  string
	until time.Time
}

func newMemory(limit int, ttl time.Duration) *memory {
	return &memory{limit: limit, ttl: ttl, known: make(map[identity]known)}
}

func (m *memory) recall(id identity, now time.Time) (user string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[id]
	if !ok || !now.Before(k.until) {
		return "", false
	}
	return k.user, true
}

func (m *memory) add(id identity, user string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.order) > 0 && !now.Before(m.known[m.order[0]].until) {
		m.drop()
	}
	if _, ok := m.known[id]; ok {
		return
	}
	if len(m.order) == m.limit {
		m.drop()
	}
	m.known[id] = known{user: user, until: now.Add(m.ttl)}
	m.order = append(m.order, id)
}

func (m *memory) drop() {
	delete(m.known, m.order[0])
	m.order = m.order[1:]
}
