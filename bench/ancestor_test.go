package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// What came before registry-cache: haproxy finds the upstream by the path, and
// one docker-registry for each upstream caches it.

// registryConf is Debian's /etc/docker/registry/config.yml with a proxy
// section, less the access log. %s are store, address and upstream.
const registryConf = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s, secret: bench}
proxy: {remoteurl: %s}
`

const haproxyConf = `global
  maxconn 8192
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  timeout connect 10s
  timeout client 5m
  timeout server 5m
frontend registries
  bind %s
%s  default_backend r0
%s`

// startAncestor caches the upstream under so many names, the first of which is
// the usual one.
func startAncestor(b *testing.B, u *upstream, upstreams int, pair *harness.Pair) *server {
	b.Helper()
	harness.Require(b, "haproxy", "docker-registry")
	dir := harness.TempDir(b)
	s := &server{name: ancestor, addr: "127.0.0.1:" + harness.FreePort(b), prefix: upstreamName + "/"}
	var processes []*harness.Process
	var rules, backends strings.Builder
	for i, name := range upstreamNames(upstreams) {
		store := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(b, os.Mkdir(store, 0o755))
		addr := "127.0.0.1:" + harness.FreePort(b)
		conf := store + ".yml"
		require.NoError(b, os.WriteFile(conf, fmt.Appendf(nil, registryConf, store, addr, u.url()), 0o600))
		registry := harness.StartProcess(b, exec.Command("docker-registry", "serve", conf))
		listening(b, registry, addr)
		processes = append(processes, registry)
		fmt.Fprintf(&rules, "  use_backend r%d if { path_beg /v2/%s/ }\n", i, name)
		fmt.Fprintf(&backends, "backend r%d\n  http-request replace-path /v2/%s/(.*) /v2/\\1\n  server r %s\n", i, name, addr)
	}
	bind := s.addr
	if pair != nil {
		s.tls = clientTLS(pair)
		pem := filepath.Join(dir, "certs.pem")
		require.NoError(b, os.WriteFile(pem, append(pair.Cert[:len(pair.Cert):len(pair.Cert)], pair.Key...), 0o600))
		bind += " ssl crt " + pem + " alpn http/1.1"
	}
	conf := filepath.Join(dir, "haproxy.cfg")
	require.NoError(b, os.WriteFile(conf, fmt.Appendf(nil, haproxyConf, bind, rules.String(), backends.String()), 0o600))
	haproxy := harness.StartProcess(b, exec.Command("haproxy", "-db", "-f", conf))
	listening(b, haproxy, s.addr)
	processes = append(processes, haproxy)
	for _, p := range processes {
		s.roots = append(s.roots, p.Pid())
	}
	s.stop = func() {
		for _, p := range processes {
			p.Kill()
		}
		_ = os.RemoveAll(dir)
	}
	return s
}

// upstreamNames are so many names of upstreams.
func upstreamNames(n int) []string {
	names := []string{upstreamName}
	for i := 1; i < n; i++ {
		names = append(names, fmt.Sprintf("r%02d.example.com", i))
	}
	return names
}
