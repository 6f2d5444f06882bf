package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// loadProxy sets Proxy. Of the two spellings the lower-case one wins, as in
// golang.org/x/net/http/httpproxy.
func (l *loader) loadProxy() {
	s := &l.set
	l.cfg.Proxy = Proxy{
		HTTP:    l.proxyURL("HTTP_PROXY", s.HTTPProxy, s.HTTPProxyLower),
		HTTPS:   l.proxyURL("HTTPS_PROXY", s.HTTPSProxy, s.HTTPSProxyLower),
		NoProxy: pickSpelling(l, "NO_PROXY", s.NoProxy, s.NoProxyLower),
	}
	for i, item := range strings.Split(l.cfg.Proxy.NoProxy, ",") {
		item = strings.TrimSpace(item)
		if _, err := netip.ParsePrefix(item); err != nil && strings.Contains(item, "/") {
			l.notice("NO_PROXY: entry %d matches nothing; write a host, a domain or a network such as 10.0.0.0/8", i+1)
		}
	}
}

func pickSpelling[T ~string](l *loader, name string, upper, lower T) T {
	if lower == "" {
		return upper
	}
	if upper != "" && upper != lower {
		l.notice("%s and %s differ; %s is used", name, strings.ToLower(name), strings.ToLower(name))
	}
	return lower
}

var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// proxyURL checks the URL of a proxy. It never shows it, since a password may
// stand in it.
func (l *loader) proxyURL(name string, upper, lower Secret) Secret {
	value := strings.TrimSpace(pickSpelling(l, name, upper, lower).Reveal())
	if value == "" {
		return ""
	}
	if lower != "" {
		name = strings.ToLower(name)
	}
	// host:port alone is as common as the URL, and means the same.
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || !slices.Contains(proxySchemes, u.Scheme) || !validHostPort(u.Host) ||
		strings.Trim(u.Path, "/") != "" || strings.ContainsAny(value, "?#") {
		l.mistake(name, "is not the URL of a proxy (it is not shown, as it may hold a password); write http://host:port, https://host:port, socks5://host:port or socks5h://host:port, with special characters of a password percent-encoded")
		return ""
	}
	return Secret(value)
}
