package config

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// signingAlgorithms are those that distribution's token controller knows.
var signingAlgorithms = []string{
	"EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
}

// The keys of ClientAuth.Token whose values are no plain texts.
const (
	tokenAutoRedirect = "autoredirect"
	tokenAlgorithms   = "signingalgorithms"
)

// TokenOptions returns Token in the shape that distribution's token controller
// takes.
func (a ClientAuth) TokenOptions() map[string]any {
	options := map[string]any{}
	for key, value := range a.Token {
		switch key {
		case tokenAutoRedirect:
			options[key] = value == "true"
		case tokenAlgorithms:
			var list []any
			for name := range strings.SplitSeq(value, ",") {
				list = append(list, name)
			}
			options[key] = list
		default:
			options[key] = value
		}
	}
	return options
}

// loadToken checks the parameters of token authentication as distribution's
// controller would, but says which variable to mend.
func (l *loader) loadToken() {
	s := &l.set
	token := map[string]string{
		"realm": s.TokenRealm, "service": s.TokenService, "issuer": s.TokenIssuer,
		tokenAutoRedirect: strconv.FormatBool(bool(s.TokenRedirect)), "autoredirectpath": s.TokenRedirectTo,
	}
	if s.TokenRealm != "" || !bool(s.TokenRedirect) {
		if u, err := url.Parse(s.TokenRealm); err != nil || u.User != nil || !validHostPort(u.Host) || u.Scheme != "http" && u.Scheme != "https" {
			l.mistake("REGISTRY_AUTH_TOKEN_REALM", "must be the URL of the token server, without user or password; write for example https://auth.example.com/token")
		}
	}
	for _, v := range []struct{ name, value string }{
		{"REGISTRY_AUTH_TOKEN_SERVICE", s.TokenService},
		{"REGISTRY_AUTH_TOKEN_ISSUER", s.TokenIssuer},
	} {
		if v.value == "" {
			l.mistake(v.name, "is missing; write what the token server puts into its tokens")
		}
	}
	if !strings.HasPrefix(s.TokenRedirectTo, "/") {
		l.mistake("REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH", "must begin with a slash; write for example /auth/token")
	}
	if names := l.algorithms(); len(names) > 0 {
		token[tokenAlgorithms] = strings.Join(names, ",")
	}
	if s.TokenRootCerts == "" && s.TokenJWKS == "" {
		l.mistake("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", "is missing, and so is REGISTRY_AUTH_TOKEN_JWKS; one must hold the keys that sign tokens")
	}
	if path := string(s.TokenRootCerts); path != "" {
		l.readCA("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", path)
		token["rootcertbundle"] = path
	}
	if path := string(s.TokenJWKS); path != "" {
		l.checkKeySet(path)
		token["jwks"] = path
	}
	l.cfg.Auth = ClientAuth{Type: AuthToken, Token: token}
}

// algorithms reads a list with commas, spaces or, as distribution takes it,
// in YAML's brackets.
func (l *loader) algorithms() []string {
	names := strings.FieldsFunc(l.set.TokenAlgorithms, func(r rune) bool { return strings.ContainsRune(`, []"'`, r) })
	for _, name := range names {
		if !slices.Contains(signingAlgorithms, name) {
			l.mistake("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "%q is not an algorithm; %s", name, didYouMean(name, signingAlgorithms))
		}
	}
	return names
}

// checkKeySet makes sure that a file is a JSON Web Key Set (RFC 7517).
func (l *loader) checkKeySet(path string) {
	l.watch(path)
	content, err := readText(path)
	if err != nil {
		l.mistake("REGISTRY_AUTH_TOKEN_JWKS", "%v", err)
		return
	}
	const form = `a JSON Web Key Set is needed: {"keys": [...]}`
	if err := checkJSON(content); err != nil {
		l.mistake(path, "%v; %s", err, form)
		return
	}
	var set struct {
		Keys []struct {
			Type string `json:"kty"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(content, &set); err != nil || len(set.Keys) == 0 {
		l.mistake(path, "holds no keys; %s", form)
		return
	}
	for i, key := range set.Keys {
		if key.Type == "" {
			l.mistake(path, "key %d has no kty; %s", i+1, form)
		}
	}
}
