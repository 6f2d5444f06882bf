// Package pagetest has the state of a cache that could be, and a supervisor
// that tells it, for tests of the page.
package pagetest

import (
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/status"
)

// Supervisor answers on a unix socket as the cache's does.
type Supervisor struct {
	mu       sync.Mutex
	document status.Document
	asked    int
}

// Serve starts a supervisor on a socket, which ends with the test.
func Serve(t testing.TB, socket string, document status.Document) *Supervisor {
	t.Helper()
	s := &Supervisor{document: document}
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return s
}

// Change changes the state from now on.
func (s *Supervisor) Change(change func(*status.Document)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.document)
}

// Asked is how often the state was asked for.
func (s *Supervisor) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// ServeHTTP implements http.Handler.
func (s *Supervisor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != status.Path {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.document) // who asked may be gone
}
