package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/supervisor"
)

func TestBanner(t *testing.T) {
	cfg := &config.Config{
		StoreDir:  "/data",
		Upstreams: []config.Upstream{{Name: "registry.lab:5000", Path: "registry.lab_5000"}, {Name: "quay.io", Path: "quay.io"}},
		Cleaner:   config.Cleaner{MaxSize: 10_000_000_000, ThresholdPercent: 20},
	}
	addr := supervisor.Addresses{Listen: "[::]:8443", Metrics: "127.0.0.1:9090"}
	require.Equal(t, `
registry-cache is ready

  address    http://localhost:8443
  upstreams  registry.lab:5000 quay.io
  store      /data
  limit      10 GB, cleaned when 20 % over
  status     http://localhost:8443/
  try        podman pull --tls-verify=false localhost:8443/quay.io/podman/hello:latest

`, banner(cfg, addr))

	cfg.TLS = &config.KeyPair{}
	cfg.Upstreams = cfg.Upstreams[:1]
	addr.Listen = "192.0.2.1:443"
	got := banner(cfg, addr)
	require.Contains(t, got, "https://192.0.2.1:443\n")
	require.Contains(t, got, "podman pull 192.0.2.1:443/registry.lab_5000/REPOSITORY:TAG\n")

	cfg.Upstreams = nil
	require.Contains(t, banner(cfg, addr), "add a registry")
}

func TestWrapKeepsLinesShort(t *testing.T) {
	words := strings.Fields(strings.Repeat("registry.example.com ", 20))
	for line := range strings.Lines(wrap(words, 76, strings.Repeat(" ", 13))) {
		require.LessOrEqual(t, len(line), 77)
	}
}

// The README's table of settings is held to what the program reads.
func TestReadmeListsEveryVariable(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	known := map[string]bool{}
	for _, v := range config.Describe() {
		known[v.Name] = true
		require.Contains(t, string(readme), "`"+v.Name+"`")
	}
	rows := regexp.MustCompile("(?m)^\\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \\|").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, rows)
	for _, row := range rows {
		for _, name := range strings.Split(row[1], ", ") {
			require.True(t, known[strings.Trim(name, "`")], "README lists %s, which nothing reads", name)
		}
	}
}
