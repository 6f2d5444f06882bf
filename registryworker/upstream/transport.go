package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"registrycache/config"
)

// newLanes builds both. Blobs go over HTTP/1.1: several transfers are several
// connections then, each with a TCP window and a rate cap of its own, and cost
// half the CPU. The small requests share an HTTP/2 connection where they can.
func newLanes(u config.Upstream, p config.Proxy, t Timeouts) (api, blobs *lane, err error) {
	trust, err := tlsConfig(u)
	if err != nil {
		return nil, nil, err
	}
	proxy, err := proxyFunc(p)
	if err != nil {
		return nil, nil, err
	}
	build := func(protocols *http.Protocols) *lane {
		return &lane{
			slots: make(chan struct{}, maxRequests),
			transport: &http.Transport{
				Proxy:                  proxy,
				DialContext:            (&net.Dialer{Timeout: t.Dial}).DialContext,
				TLSClientConfig:        trust.Clone(),
				TLSHandshakeTimeout:    t.TLS,
				ResponseHeaderTimeout:  t.Header,
				MaxIdleConnsPerHost:    maxRequests,
				IdleConnTimeout:        90 * time.Second,
				MaxResponseHeaderBytes: 256 << 10,
				// Layers are compressed already, and what is stored must be
				// the bytes that were digested.
				DisableCompression: true,
				Protocols:          protocols,
				HTTP2:              &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
			},
		}
	}
	both, one := new(http.Protocols), new(http.Protocols)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	one.SetHTTP1(true)
	return build(both), build(one), nil
}

func tlsConfig(u config.Upstream) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: u.InsecureSkipVerify}
	if len(u.CA) == 0 {
		return c, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(u.CA) {
		return nil, errors.New("ca holds no certificate: want PEM, with lines -----BEGIN CERTIFICATE-----")
	}
	c.RootCAs = roots
	return c, nil
}

// proxySchemes are what net/http can speak to a proxy; socks5 and socks5h both
// leave the resolving of names to the proxy.
var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// proxyFunc checks what httpproxy would silently ignore.
func proxyFunc(p config.Proxy) (func(*http.Request) (*url.URL, error), error) {
	for name, secret := range map[string]config.Secret{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS} {
		raw := secret.Reveal()
		if raw == "" {
			continue
		}
		if !strings.Contains(raw, "://") {
			raw = "http://" + raw
		}
		// The value may hold a password, so no error repeats it.
		if u, err := url.Parse(raw); err != nil || u.Host == "" || !slices.Contains(proxySchemes, u.Scheme) {
			return nil, fmt.Errorf("%s is not a proxy's address: want [scheme://][user:password@]host:port, scheme one of %s",
				name, strings.Join(proxySchemes, ", "))
		}
	}
	pick := (&httpproxy.Config{HTTPProxy: p.HTTP.Reveal(), HTTPSProxy: p.HTTPS.Reveal(), NoProxy: p.NoProxy}).ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return pick(r.URL) }, nil
}
