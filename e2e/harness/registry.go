package harness

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// registryConfig is for docker-registry 2.8; %s are the store, the socket,
// and the auth section.
const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  maintenance: {uploadpurging: {enabled: false}}
http: {net: unix, addr: %s, relativeurls: true, secret: end-to-end}
%s`

const registryTokenAuth = `auth:
  token: {realm: %s, service: %s, issuer: %s, rootcertbundle: %s}
`

// ServeStore has docker-registry serve a store that is already there, and
// returns its host:port.
func ServeStore(t testing.TB, store string) string {
	t.Helper()
	return NewFront(t, "127.0.0.1:0", forward(startRegistry(t, store, nil)), nil).Host()
}

// startRegistry runs Debian's docker-registry on a unix socket and returns a
// transport to it; with tokens it demands Bearer tokens of that server.
func startRegistry(t testing.TB, store string, tokens *TokenServer) http.RoundTripper {
	t.Helper()
	Require(t, "docker-registry")
	dir := TempDir(t)
	socket := filepath.Join(dir, "r.sock")
	auth := ""
	if tokens != nil {
		auth = fmt.Sprintf(registryTokenAuth, tokens.Realm(), tokenService, tokenIssuer, tokens.Bundle)
	}
	config := filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, registryConfig, store, socket, auth), 0o600))
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "OTEL_TRACES_EXPORTER=none"}
	process := StartProcess(t, cmd)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	Eventually(t, func() bool {
		require.False(t, process.Ended(), "docker-registry ended: %s", process.Output())
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, "docker-registry listens")
	return transport
}

// forward passes requests on as they are, the Host header included.
func forward(to http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: r.In.Host})
			r.Out.Host = r.In.Host
		},
		Transport: to, FlushInterval: -1, ErrorLog: quiet,
	}
}
