package upstream

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"registrycache/config"
)

// knownRealms are registries whose token server belongs to another site than
// their own. Any other such pair has to be allowed with tokenRealms.
var knownRealms = map[string][]string{
	"dhi.io":                      {"auth.docker.io"},
	"registry.hub.docker.com":     {"auth.docker.io"},
	"lscr.io":                     {"ghcr.io"},
	"nvcr.io":                     {"authn.nvidia.com"},
	"registry.redhat.io":          {"sso.redhat.com"},
	"registry.connect.redhat.com": {"sso.redhat.com"},
	"registry.stage.redhat.io":    {"sso.stage.redhat.com"},
}

// realms decides which token servers may be asked, since a challenge is
// answered with the user's password: a stolen or careless registry could name
// any host as its realm.
type realms struct {
	// setting names the upstream in errors.
	setting string
	// sites are the hosts whose site is trusted: those of the registry itself.
	sites []string
	// hosts are trusted by name; one with a port for that port alone.
	hosts []string
	// plain allows http, as for a registry that is itself plain http.
	plain bool
}

func newRealms(u config.Upstream, base *url.URL) realms {
	name := hostname(u.Name)
	api := strings.ToLower(base.Hostname())
	hosts := slices.Concat(u.TokenRealms, knownRealms[name])
	if api != name {
		hosts = append(hosts, knownRealms[api]...)
	}
	return realms{setting: u.Name, sites: []string{api, name}, hosts: hosts, plain: base.Scheme == "http"}
}

// redirected are the realms that a host may name to which the upstream has
// redirected. Its token server never gets credentials.
func (r realms) redirected(to *url.URL) realms {
	return realms{setting: r.setting, sites: []string{strings.ToLower(to.Hostname())}, plain: to.Scheme == "http"}
}

// check returns the realm as an address that credentials may be sent to.
func (r realms) check(realm string) (*url.URL, error) {
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, invalid("the upstream names a token server that is no http(s) address")
	}
	u.Fragment, u.RawFragment = "", ""
	host := strings.ToLower(u.Hostname())
	named := func(h string) bool {
		h = strings.ToLower(h)
		return h == host || h == strings.ToLower(u.Host)
	}
	if !slices.ContainsFunc(r.hosts, named) && !slices.ContainsFunc(r.sites, func(s string) bool { return sameSite(s, host) }) {
		return nil, &problem{
			kind: Unauthorized,
			err:  fmt.Errorf("the upstream sends for a token to %s, which is not known to belong to it", u.Host),
			hint: fmt.Sprintf("if it does, add %s to tokenRealms of %s in the configuration file", host, r.setting),
		}
	}
	if u.Scheme == "http" && !r.plain {
		return nil, &problem{
			kind: Unauthorized,
			err:  fmt.Errorf("the upstream sends for a token to %s over plain http, where credentials could be read on the way: refused", u.Host),
			hint: "the registry's administrator must give its realm as https",
		}
	}
	return u, nil
}

// sameSite says whether two hosts are the same, or names under one registrable
// domain by the public suffix list.
func sameSite(a, b string) bool {
	if a == b {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	siteA, err := publicsuffix.EffectiveTLDPlusOne(a)
	if err != nil {
		return false
	}
	siteB, err := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && siteA == siteB
}

// hostname is the host of a host or host:port, in lower case.
func hostname(name string) string {
	u := url.URL{Host: strings.ToLower(name)}
	return u.Hostname()
}
