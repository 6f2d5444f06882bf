package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// The cache reaches upstreams through the proxies that sites have. The
// upstream's name exists for the proxy alone.
func TestProxies(t *testing.T) {
	t.Parallel()
	pair := harness.NewPair(t, "registry.test")
	plain := harness.NewOpenUpstream(t)
	encrypted := harness.NewOpenUpstream(t, harness.WithTLS(pair, t))
	img := harness.Image(t, 300_000)
	plain.Push(t, "podman/hello:latest", img)
	encrypted.Push(t, "podman/hello:latest", img)
	for name, try := range map[string]struct {
		upstream *harness.Upstream
		url      string
		proxy    func(testing.TB, string) *harness.Proxy
		variable string
		scheme   string
		saw      string
	}{
		"http":          {plain, "http://registry.test", harness.NewHTTPProxy, "HTTP_PROXY", "http://me:hunter2@", "GET registry.test"},
		"http, CONNECT": {encrypted, "https://registry.test", harness.NewHTTPProxy, "HTTPS_PROXY", "http://me:hunter2@", "CONNECT registry.test:443"},
		"lower case":    {encrypted, "https://registry.test", harness.NewHTTPProxy, "https_proxy", "http://me:hunter2@", "CONNECT registry.test:443"},
		"socks5":        {encrypted, "https://registry.test", harness.NewSOCKSProxy, "HTTPS_PROXY", "socks5://", "SOCKS5 registry.test:443"},
		"socks5, plain": {plain, "http://registry.test", harness.NewSOCKSProxy, "HTTP_PROXY", "socks5://", "SOCKS5 registry.test:80"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := try.proxy(t, try.upstream.Host())
			a := harness.Configure(t, harness.Options{Env: map[string]string{try.variable: try.scheme + proxy.Host}})
			harness.WriteFile(t, a.Dir+"/ca.pem", string(pair.Cert))
			harness.WriteFile(t, a.ConfigFile(), harness.ConfigFile(t, map[string]harness.Settings{
				"quay.io": {"url": try.url, "ca": a.Dir + "/ca.pem"},
			}))
			a.Start()
			harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
			require.Contains(t, proxy.Saw(), try.saw)
			require.NotContains(t, a.Output(), "hunter2")
		})
	}
}

// A proxy that refuses or is gone is told from an upstream that is, and
// NO_PROXY goes round it.
func TestProxyTrouble(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	for name, try := range map[string]struct {
		login, noProxy string
		gone           bool
		says           string
		asked          bool
	}{
		"wrong password": {login: "me:wr0ng", says: "407", asked: true},
		"gone":           {login: "me:hunter2", gone: true, says: "proxyconnect"},
		"not for this":   {login: "me:hunter2", noProxy: "other.test,registry.test", says: "lookup registry.test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := harness.NewHTTPProxy(t, u.Host())
			host := proxy.Host
			if try.gone {
				host = "127.0.0.1:" + harness.FreePort(t)
			}
			a := harness.Start(t, harness.Options{
				Env:       map[string]string{"HTTP_PROXY": "http://" + try.login + "@" + host, "NO_PROXY": try.noProxy},
				Upstreams: map[string]harness.Settings{"quay.io": {"url": "http://registry.test"}},
			})
			message := a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusServiceUnavailable, "UNAVAILABLE")
			require.Contains(t, message, try.says)
			require.Equal(t, try.asked, len(proxy.Saw()) > 0)
			for _, secret := range []string{"wr0ng", "hunter2"} {
				require.NotContains(t, message+a.Output(), secret)
			}
		})
	}
}
