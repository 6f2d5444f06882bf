package config

import (
	"errors"
	"slices"
	"strings"
	"unicode"
)

// The values of ClientAuth.Type, as distribution names them, and of
// REGISTRY_AUTH, where none is a value of its own.
const (
	AuthHtpasswd = "htpasswd"
	AuthToken    = "token"
	authNone     = "none"
)

// parseAuthType does not show what it refuses: a password ends up in the wrong
// variable easily.
func parseAuthType(s string) (string, error) {
	kind := strings.ToLower(strings.TrimSpace(s))
	if !slices.Contains([]string{authNone, AuthHtpasswd, AuthToken}, kind) {
		return "", errors.New("is not a kind of client authentication; write none, htpasswd or token")
	}
	return kind, nil
}

const (
	htpasswdPrefix = "REGISTRY_AUTH_HTPASSWD_"
	tokenPrefix    = "REGISTRY_AUTH_TOKEN_"
)

// loadClientAuth sets Auth. As in distribution, the variables of one kind are
// enough to choose it.
func (l *loader) loadClientAuth() {
	htpasswd, token := l.firstSet(htpasswdPrefix), l.firstSet(tokenPrefix)
	kind := string(l.set.Auth)
	if kind == "" && l.isSet("REGISTRY_AUTH") {
		return // a mistake that has been reported
	}
	switch {
	case kind == "" && htpasswd != "" && token != "":
		l.mistake("REGISTRY_AUTH", "is needed when there are both REGISTRY_AUTH_HTPASSWD_* and REGISTRY_AUTH_TOKEN_* variables; write htpasswd or token, and remove the others")
	case kind == AuthHtpasswd && token != "":
		l.mistake(token, "has no effect when REGISTRY_AUTH is htpasswd; remove one of the two")
	case kind == AuthToken && htpasswd != "":
		l.mistake(htpasswd, "has no effect when REGISTRY_AUTH is token; remove one of the two")
	case kind == authNone && htpasswd+token != "":
		l.notice("REGISTRY_AUTH is none, so clients need no password although %s is set", htpasswd+token)
	case kind == AuthHtpasswd || kind == "" && htpasswd != "":
		l.loadHtpasswd()
	case kind == AuthToken || kind == "" && token != "":
		l.loadToken()
	}
	if l.cfg.Auth.Type != "" && l.cfg.TLS == nil {
		l.notice("clients send their passwords or tokens unencrypted, since there is no certificate")
	}
	switch h := l.cfg.Hosted; {
	case h == nil || l.cfg.Auth.Type != "":
	case len(h.Push) > 0:
		l.mistake(string(l.set.ConfigFile)+": hosted.push", "needs REGISTRY_AUTH, without which users can't be told apart")
	default:
		l.notice("everyone who reaches this cache may push to %s/ and delete there, since there is no client authentication; REGISTRY_AUTH turns it on", h.Prefix)
	}
}

// firstSet returns the first variable with the prefix that is set, or "".
func (l *loader) firstSet(prefix string) string {
	for _, name := range variableNames() {
		if strings.HasPrefix(name, prefix) && l.isSet(name) {
			return name
		}
	}
	return ""
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
