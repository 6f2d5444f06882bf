package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// loadUpstreams joins the pull secret and CONFIG_FILE into one Upstream for
// each host.
func (l *loader) loadUpstreams() {
	before := l.count()
	file := l.readConfigFile()
	entries := l.readPullSecret()

	hosts := map[string]*Upstream{}
	keys := l.fileHosts(file)
	for _, host := range slices.Sorted(maps.Keys(keys)) {
		hosts[host] = l.newUpstream(host)
		l.applyFile(hosts[host], file, keys[host])
	}
	l.addCredentials(hosts, entries)
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		u := hosts[host]
		slices.SortStableFunc(u.Credentials, func(a, b Credential) int {
			return cmp.Or(cmp.Compare(len(b.Scope), len(a.Scope)), cmp.Compare(a.Scope, b.Scope))
		})
		l.cfg.Upstreams = append(l.cfg.Upstreams, *u)
		if len(u.Credentials) > 0 && strings.HasPrefix(u.URL, "http://") {
			l.notice("the credentials for %s travel unencrypted, since its url is %s", u.Name, u.URL)
		}
	}
	// A broken file has been reported, and then there is nothing to count.
	if len(hosts) == 0 && l.count() == before {
		l.mistake("PULLSECRETPATH", "no upstream is left to cache: add an entry to auths, or list a host under upstreams in CONFIG_FILE")
	}
	l.checkAddressing(file, keys)
	l.loadHosted(file)
	l.loadPins(file)
	l.tellCleaner()
	l.setDefaultRegistry()
}

func (l *loader) newUpstream(host string) *Upstream {
	u := &Upstream{
		Name: host, Path: upstreamPath(host), URL: "https://" + host,
		TagMaxAge: time.Duration(l.set.TagMaxAge), StaleIfError: time.Duration(l.set.TagStaleIfError),
	}
	if u.Library() {
		u.URL = "https://registry-1.docker.io"
	}
	return u
}

// fileHosts maps the hosts that CONFIG_FILE lists to their keys in it.
func (l *loader) fileHosts(file *configFile) map[string]string {
	keys := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(file.Upstreams)) {
		where := file.at("upstreams", key)
		k, err := parseRegistryKey(key)
		switch {
		case err != nil:
			l.mistake(where, "the key %v", err)
		case k.String() != k.Host || strings.Contains(key, "/"):
			l.mistake(where, "the key must be a host alone, such as %s", k.Host)
		case keys[k.Host] != "":
			l.mistake(where, "is the same registry as %s; keep one", keys[k.Host])
		default:
			keys[k.Host] = key
		}
	}
	return keys
}

// addCredentials gives each upstream the credentials of its own keys.
func (l *loader) addCredentials(hosts map[string]*Upstream, entries []pullEntry) {
	first := map[string]pullEntry{}
	for _, e := range entries {
		where := string(l.set.PullSecret) + ": " + e.label()
		u := hosts[e.Host]
		if u == nil {
			if !looksLikeHost(e.Host) {
				l.mistake(where, "the key %v", errKeyForm)
				continue
			}
			u = l.newUpstream(e.Host)
			hosts[e.Host] = u
		}
		if e.PlainHTTP && u.URL == "https://"+u.Name {
			l.notice("%s is asked over https although its key says http; for plain HTTP set the url of %s in CONFIG_FILE", e.label(), u.Name)
		}
		if e.credential == nil {
			continue
		}
		other, seen := first[e.String()]
		switch {
		case !seen:
			first[e.String()] = e
			u.Credentials = append(u.Credentials, *e.credential)
			u.Credentials[len(u.Credentials)-1].Scope = e.Scope
		case *other.credential != *e.credential:
			l.mistake(where, "is for %s like %s, with other credentials; keep one of the two", e.String(), other.label())
		}
	}
}

// applyFile sets what CONFIG_FILE says of an upstream.
func (l *loader) applyFile(u *Upstream, file *configFile, key string) {
	s := file.Upstreams[key]
	if s == nil { // the host alone, with nothing below
		return
	}
	at := func(keys ...string) string { return file.at(append([]string{"upstreams", key}, keys...)...) }
	readInto(l, at("url"), s.URL, parseBaseURL, &u.URL)
	readInto(l, at("tagMaxAge"), s.TagMaxAge, parseDuration, &u.TagMaxAge)
	readInto(l, at("staleIfError"), s.StaleIfError, parseStaleness, &u.StaleIfError)
	readInto(l, at("maxSize"), s.MaxSize, ParseSize, &u.MaxSize)
	readInto(l, at("staleWhileRevalidate"), s.StaleWhileRevalidate, parseDuration, &u.StaleWhileRevalidate)
	readInto(l, at("idleTimeout"), s.IdleTimeout, parseInterval, &u.IdleTimeout)
	readInto(l, at("parallelFrom"), s.ParallelFrom, ParseSize, &u.ParallelFrom)
	readInto(l, at("connections"), s.Connections, parseConnections, &u.Connections)
	if total := int64(l.set.MaxSize); total > 0 && u.MaxSize > total {
		l.notice("%s has no effect: it is above CLEANER_MAXSIZE, %s", at("maxSize"), humanize.Bytes(uint64(total)))
	}
	u.Aliases = s.Aliases
	u.InsecureSkipVerify = s.InsecureSkipVerify
	if u.InsecureSkipVerify {
		l.notice("the certificate of %s is not verified, so anyone between here and there can read its credentials", u.Name)
	}
	if s.CA != "" {
		u.CA = l.readCA(at("ca"), relativeTo(file.path, s.CA))
	}
	for i, realm := range s.TokenRealms {
		if !validHostPort(realm) {
			l.mistake(at("tokenRealms", index(i)), "is not a host; write host or host:port, such as auth.example.com")
		}
		u.TokenRealms = append(u.TokenRealms, strings.ToLower(realm))
	}
	if s.Repositories != nil && len(s.Repositories) == 0 {
		l.mistake(at("repositories"), "is an empty list; leave it out to allow everything, or remove the upstream to allow nothing")
	}
	for i, pattern := range s.Repositories {
		if err := checkRepositoryPattern(pattern, u); err != nil {
			l.mistake(at("repositories", index(i)), "%v", err)
		}
	}
	u.Repositories = s.Repositories
}

// readInto reads an optional value of CONFIG_FILE.
func readInto[T any](l *loader, where, text string, parse func(string) (T, error), to *T) {
	if text == "" {
		return
	}
	v, err := parse(text)
	if err != nil {
		l.mistake(where, "%v", err)
		return
	}
	*to = v
}
