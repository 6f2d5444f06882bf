package config

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http/httpproxy"
)

func TestProxy(t *testing.T) {
	s := newSite(t)
	s.env["HTTP_PROXY"] = "proxy.lab:3128"
	s.env["https_proxy"] = "socks5h://u:p%40ss@[fd00::1]:1080/"
	s.env["NO_PROXY"] = "a.lab"
	s.env["no_proxy"] = ".lab,10.0.0.0/8"
	cfg := s.load()
	assert.Equal(t, Proxy{HTTP: "http://proxy.lab:3128", HTTPS: "socks5h://u:p%40ss@[fd00::1]:1080/", NoProxy: ".lab,10.0.0.0/8"}, cfg.Proxy)
	s.requireNotice("NO_PROXY and no_proxy differ; no_proxy is used")

	ask := httpproxy.Config{HTTPSProxy: cfg.Proxy.HTTPS.Reveal(), NoProxy: cfg.Proxy.NoProxy}
	request, err := http.NewRequest(http.MethodGet, "https://quay.io/v2/", nil)
	require.NoError(t, err)
	chosen, err := ask.ProxyFunc()(request.URL)
	require.NoError(t, err)
	password, _ := chosen.User.Password()
	assert.Equal(t, "p@ss", password)
}

func TestNoProxyWithURLs(t *testing.T) {
	s := newSite(t)
	s.env["NO_PROXY"] = "localhost, http://a.lab"
	s.requireNotice("NO_PROXY: entry 2 matches nothing; write a host, a domain or a network such as 10.0.0.0/8")
}

func TestBadProxies(t *testing.T) {
	const form = "is not the URL of a proxy (it is not shown, as it may hold a password); write http://host:port, https://host:port, socks5://host:port or socks5h://host:port, with special characters of a password percent-encoded"
	for _, value := range []string{"ftp://proxy.lab", "socks4://proxy.lab:1080", "http://", "http://u:pa#ss@proxy.lab", "http://proxy.lab:port", "http://proxy.lab/path", "u:p%zz@proxy.lab"} {
		for _, name := range []string{"HTTP_PROXY", "https_proxy"} {
			s := newSite(t)
			s.env[name] = value
			s.requireMistakes(name + ": " + form)
		}
	}
}
