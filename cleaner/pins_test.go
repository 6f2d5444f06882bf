package cleaner

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPins(t *testing.T) {
	for _, c := range []struct {
		pattern, repo string
		all           bool
		tag           string // that is pinned, when not all are
	}{
		{pattern: "quay.io/podman/hello", repo: "quay.io/podman/hello", all: true},
		{pattern: "quay.io/podman/hello", repo: "quay.io/podman/hello/deeper"},
		{pattern: "quay.io/podman/hello", repo: "quay.io/podman/hello2"},
		{pattern: "quay.io/podman/*", repo: "quay.io/podman/hello", all: true},
		{pattern: "quay.io/podman/*", repo: "quay.io/podman/a/b/c", all: true},
		{pattern: "quay.io/podman/*", repo: "quay.io/podman"},
		{pattern: "quay.io/*", repo: "quay.io/podman/hello", all: true},
		{pattern: "quay.io/*", repo: "quay.iox/podman/hello"},
		{pattern: "*/base", repo: "quay.io/base", all: true},
		{pattern: "quay.io/*/base", repo: "quay.io/a/base", all: true},
		{pattern: "quay.io/*/base", repo: "quay.io/a/b/base"},
		{pattern: "quay.io/hello:latest", repo: "quay.io/hello", tag: "latest"},
		{pattern: "quay.io/hello:v1.*", repo: "quay.io/hello", tag: "v1.2.3"},
		{pattern: "quay.io/*:latest", repo: "quay.io/a/b", tag: "latest"},
		{pattern: "a_5000/x:1", repo: "a_5000/x", tag: "1"},
	} {
		t.Run(c.pattern+" "+c.repo, func(t *testing.T) {
			all, tags := parsePins([]string{"nothing/here:1", c.pattern}).of(c.repo)
			require.Equal(t, c.all, all)
			require.Equal(t, c.tag != "", tags.match(c.tag))
			require.False(t, tags.match("other"))
		})
	}
}
