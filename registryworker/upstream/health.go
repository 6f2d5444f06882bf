package upstream

import (
	"sync"

	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/status"
)

// health keeps track of which credentials work, and reports a change once.
type health struct {
	upstream string
	log      zerolog.Logger
	metrics  *metrics

	mu sync.Mutex
	// refusals are the last status by credential scope, of those that were
	// used; 0 once it was accepted.
	refusals map[string]int
}

// key names a credential as the pull secret does.
func (h *health) key(c *config.Credential) string {
	if c.Scope == "" {
		return h.upstream
	}
	return h.upstream + "/" + c.Scope
}

func (h *health) accepted(c *config.Credential) {
	h.metrics.credentials.WithLabelValues(h.key(c)).Set(1)
	if h.changed(c, 0) {
		h.log.Info().Str("credentials", h.key(c)).Msg("the upstream accepts the credentials again")
	}
}

func (h *health) refused(c *config.Credential, e *Error) {
	e.refused = true
	h.metrics.credentials.WithLabelValues(h.key(c)).Set(0)
	// The status alone tells failures apart: the same one for the next
	// repository, or with another request's id in its words, is no news.
	if h.changed(c, e.Status) {
		h.log.Error().Str("credentials", h.key(c)).Str("username", c.Username).Int("status", e.Status).Str("answer", e.Message).
			Msg("the upstream refuses the credentials: check them in the pull secret")
	}
}

// verdict says how the upstream takes the credentials.
func (h *health) verdict(all []config.Credential) string {
	if len(all) == 0 {
		return status.Anonymous
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	refused := 0
	for _, last := range h.refusals {
		if last != 0 {
			refused++
		}
	}
	switch {
	case len(h.refusals) == 0:
		return status.Unused
	case refused == 0:
		return status.Accepted
	case refused == len(all):
		return status.Refused
	}
	return status.PartRefused
}

func (h *health) changed(c *config.Credential, status int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := h.refusals[c.Scope] != status
	h.refusals[c.Scope] = status
	return changed
}
