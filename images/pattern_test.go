package images_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, repo, tag string
		want               bool
	}{
		{"quay.io/podman/hello", "quay.io/podman/hello", "1", true},
		{"quay.io/podman/hello", "quay.io/podman/hello", "", true},
		{"quay.io/podman/hello", "quay.io/podman/hello2", "1", false},
		{"quay.io/*", "quay.io/podman/hello", "1", true},
		{"quay.io/*", "quay.iox/podman", "1", false},
		{"*", "quay.io", "1", true},
		{"quay.io/a:v*", "quay.io/a", "v1", true},
		{"quay.io/a:v*", "quay.io/a", "1", false},
		{"quay.io/a:v*", "quay.io/a", "", false},
		{"quay.io/a:*", "quay.io/a", "v1", true},
		{"host:5000/a", "host:5000/a", "1", true},
		{"[", "[", "", false},
		{"a:[", "a", "[", false},
	} {
		p := images.ParsePattern(c.pattern)
		require.Equal(t, c.want, p.MatchRepository(c.repo) && p.MatchTag(c.tag), "%+v", c)
	}
}
