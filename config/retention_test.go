package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCleanerIsToldWhatMayGo(t *testing.T) {
	s := newSite(t)
	s.configFile(`
upstreams:
  docker.io: {maxSize: 5GiB}
  quay.io: {aliases: [q], maxSize: 2G}
  registry.lab:5000:
hosted: {prefix: local}
pin: ["quay.io/podman/*", "q/a:v1*", "docker.io/busybox", "docker.io/*", "docker.io/*:1", "docker.io/grafana/loki", "registry.lab:5000/a/b:1", quay.io, "local/x", "*/base:latest"]
`)
	c := s.load().Cleaner
	assert.Equal(t, []Quota{{"docker.io", 5 << 30}, {"quay.io", 2e9}}, c.Quotas)
	assert.Equal(t, []string{
		"quay.io/podman/*", "quay.io/a:v1*", "docker.io/library/busybox", "docker.io/*", "docker.io/*:1", "docker.io/grafana/loki",
		"registry.lab_5000/a/b:1", "quay.io/*", "local/x", "*/base:latest",
	}, c.Pins)
	require.NotContains(t, strings.Join(s.load().Notices, "\n"), "keeps nothing")
}

func TestAPinOfNoUpstreamIsNoticed(t *testing.T) {
	s := newSite(t)
	s.configFile("pin: [busybox, quay.io/a]\n")
	s.requireNotice(`pin: "busybox" keeps nothing, since no upstream is called busybox; write for example docker.io/busybox`)
}
