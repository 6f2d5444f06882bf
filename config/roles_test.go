package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a process is told travels as JSON and must hold the secrets it needs,
// and no others.
func TestRolesAreToldTheirOwnSecretsOnly(t *testing.T) {
	s := newSite(t)
	s.pullSecret(auths("quay.io", authOf("q:quaysecret"), "docker.io", authOf("d:hubsecret"), "registry.lab:5000", `{}`))
	s.configFile("upstreams: {quay.io: {aliases: [q]}}")
	s.env["HTTPS_PROXY"] = "http://u:proxysecret@proxy.lab"
	s.file("certs/certs.pem", string(newAuthority(t).pair(t)))
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	cfg := s.load()

	sent := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return string(b)
	}
	quay := sent(cfg.Worker(cfg.Upstreams[1]))
	for _, mine := range []string{"quaysecret", "proxysecret"} {
		assert.Contains(t, quay, mine)
	}
	for _, notMine := range []string{"hubsecret", goodHash, "PRIVATE KEY"} {
		assert.NotContains(t, quay, notMine)
	}
	router := sent(cfg.Router())
	for _, mine := range []string{goodHash, "PRIVATE KEY"} {
		assert.Contains(t, router, mine)
	}
	for _, other := range []string{router, sent(cfg.Logger()), sent(cfg.Cleaner)} {
		for _, notMine := range []string{"quaysecret", "hubsecret", "proxysecret"} {
			assert.NotContains(t, other, notMine)
		}
	}
	assert.Equal(t, []Route{
		{Path: "docker.io", Name: "docker.io", Library: true, Socket: "/run/registry-cache-test/worker-docker.io.sock"},
		{Path: "quay.io", Name: "quay.io", Aliases: []string{"q"}, Socket: "/run/registry-cache-test/worker-quay.io.sock"},
		{Path: "registry.lab_5000", Name: "registry.lab:5000", Socket: "/run/registry-cache-test/worker-registry.lab_5000.sock"},
	}, cfg.Router().Routes)
	assert.Equal(t, "docker.io", cfg.Router().DefaultRoute)
}
