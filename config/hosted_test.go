package config

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHostedIsARouteWithAWorkerOfItsOwn(t *testing.T) {
	s := newSite(t)
	s.pullSecret(auths("quay.io", authOf("q:quaysecret")))
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	s.configFile("hosted: {prefix: local, push: [alice]}")
	cfg := s.load()

	routes := cfg.Router().Routes
	assert.Equal(t, Route{
		Path: "local", Name: "local", Hosted: true, Push: []string{"alice"},
		Socket: "/run/registry-cache-test/hosted-local.sock",
	}, routes[len(routes)-1])
	told, err := json.Marshal(cfg.HostedWorker())
	require.NoError(t, err)
	assert.NotContains(t, string(told), "quaysecret")
	assert.NotContains(t, string(told), goodHash)
	assert.Equal(t, "local", cfg.HostedWorker().Prefix)
	assert.Equal(t, cfg.StoreDir, cfg.HostedWorker().StoreDir)
}

func TestHostedForEveryoneIsWorthANotice(t *testing.T) {
	const open = "everyone who reaches this cache may push to local/"
	s := newSite(t)
	s.configFile("hosted: {prefix: local}")
	s.requireNotice(open)

	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	for _, notice := range s.load().Notices {
		assert.NotContains(t, notice, open)
	}
}

func TestMistakesOfHostedBesideUnreadableOnes(t *testing.T) {
	for name, file := range map[string]string{
		"prefix": "upstreams: {quay.io: {nope: 1}}\nhosted:\n  prefix: a/b\n",
		"push":   "pins: []\nhosted:\n  prefix: local\n  push: ['']\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.configFile(file)
			mistakes := s.mistakes()
			require.Contains(t, mistakes[0], "unknown key")
			require.Contains(t, mistakes[1], "hosted."+name)
		})
	}
}
