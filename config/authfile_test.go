package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAuthFiles(t *testing.T) {
	for name, c := range map[string]struct {
		environ, want []string
	}{
		"nothing set": {},
		"home": {
			[]string{"HOME=/home/a"},
			[]string{"/home/a/.config/containers/auth.json", "/home/a/.docker/config.json"},
		},
		"a session": {
			[]string{"HOME=/home/a", "XDG_RUNTIME_DIR=/run/user/1"},
			[]string{"/run/user/1/containers/auth.json", "/home/a/.config/containers/auth.json", "/home/a/.docker/config.json"},
		},
		"directories of their own": {
			[]string{"HOME=/home/a", "XDG_CONFIG_HOME=/c", "DOCKER_CONFIG=/d"},
			[]string{"/c/containers/auth.json", "/d/config.json"},
		},
		"one file": {
			[]string{"HOME=/home/a", "XDG_RUNTIME_DIR=/run/user/1", "REGISTRY_AUTH_FILE=/x/auth.json"},
			[]string{"/x/auth.json"},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, AuthFiles(c.environ)) })
	}
}
