package router

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// tokenServer signs tokens, as the site's token service would.
type tokenServer struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	jwks string // path of the file with the public key
}

func newTokenServer(t *testing.T, dir string) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := &tokenServer{t: t, key: key, jwks: filepath.Join(dir, "jwks.json")}
	content, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.jwks, content, 0o600))
	return s
}

func (s *tokenServer) settings() config.ClientAuth {
	return config.ClientAuth{Type: config.AuthToken, Token: map[string]string{
		"realm": "https://auth.example.com/token", "service": "cache", "issuer": "site", "jwks": s.jwks,
		"autoredirect": "false", "autoredirectpath": "/auth/token", "signingalgorithms": "ES256,RS256",
	}}
}

func (s *tokenServer) sign(access ...*token.ResourceActions) string {
	s.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k"}}, nil)
	require.NoError(s.t, err)
	raw, err := jwt.Signed(signer).Claims(token.ClaimSet{
		Issuer: "site", Subject: "ann", Audience: token.AudienceList{"cache"},
		Expiration: time.Now().Add(time.Hour).Unix(), NotBefore: time.Now().Add(-time.Hour).Unix(), Access: access,
	}).Serialize()
	require.NoError(s.t, err)
	return raw
}

func (c *cache) bearing(raw, path string) *http.Response {
	c.t.Helper()
	response, _ := c.do(c.request(http.MethodGet, path, http.Header{"Authorization": {"Bearer " + raw}}))
	return response
}

func TestTokenAuth(t *testing.T) {
	c := newCache(t)
	server := newTokenServer(t, c.dir)
	c.settings.Auth = server.settings()
	c.worker("quay.io", text("hello"))
	c.start()

	const challenge = `Bearer realm="https://auth.example.com/token",service="cache"`
	for path, scope := range map[string]string{
		"/v2/":                          "",
		"/v2/_catalog":                  `,scope="registry:catalog:*"`,
		"/v2/quay.io/a/manifests/1":     `,scope="repository:quay.io/a:pull"`,
		"/v2/a/manifests/1?ns=quay.io":  `,scope="repository:quay.io/a:pull"`,
		"/v2/hello-world/manifests/1":   `,scope="repository:docker.io/library/hello-world:pull"`,
		"/v2/quay.io/../../manifests/1": "",
	} {
		response, body := c.raw("GET " + path + " HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode, path)
		assert.Equal(t, challenge+scope, response.Header.Get("Www-Authenticate"), path)
		requireError(t, body, errcode.ErrorCodeUnauthorized, "")
	}

	raw := server.sign(&token.ResourceActions{Type: "repository", Name: "quay.io/a", Actions: []string{"pull"}})
	assert.Equal(t, http.StatusOK, c.bearing(raw, "/v2/").StatusCode)
	assert.Equal(t, http.StatusOK, c.bearing(raw, "/v2/quay.io/a/manifests/1").StatusCode)
	assert.Equal(t, http.StatusOK, c.bearing(raw, "/v2/a/manifests/1?ns=quay.io").StatusCode)
	response := c.bearing(raw, "/v2/quay.io/b/manifests/1")
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Contains(t, response.Header.Get("Www-Authenticate"), `error="insufficient_scope"`)
	assert.Equal(t, http.StatusUnauthorized, c.bearing(raw, "/v2/_catalog").StatusCode)
	assert.Equal(t, http.StatusUnauthorized, c.bearing(raw+"x", "/v2/").StatusCode)

	all := server.sign(&token.ResourceActions{Type: "registry", Name: "catalog", Actions: []string{"*"}})
	assert.Equal(t, http.StatusOK, c.bearing(all, "/v2/_catalog").StatusCode)
	records := c.records(13)
	assert.Equal(t, "ann", records[6].User)
	assert.Empty(t, records[0].User)
}

func TestTokenKeysAreReadAgainOnReload(t *testing.T) {
	c := newCache(t)
	old := newTokenServer(t, c.dir)
	c.settings.Auth = old.settings()
	c.start()
	raw := old.sign()
	require.Equal(t, http.StatusOK, c.bearing(raw, "/v2/").StatusCode)

	renewed := newTokenServer(t, c.dir) // behind the same path
	c.update(func(*config.Router) {})
	assert.Equal(t, http.StatusUnauthorized, c.bearing(raw, "/v2/").StatusCode)
	assert.Equal(t, http.StatusOK, c.bearing(renewed.sign(), "/v2/").StatusCode)

	require.NoError(t, os.WriteFile(renewed.jwks, []byte("{"), 0o600))
	c.update(func(*config.Router) {})
	assert.Equal(t, http.StatusOK, c.bearing(renewed.sign(), "/v2/").StatusCode, "the old key stays")
}

func TestTokenRedirectBelievesNoForwardedHeader(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = newTokenServer(t, c.dir).settings()
	c.settings.Auth.Token["autoredirect"] = "true"
	c.start()
	response, _ := c.do(c.request(http.MethodGet, "/v2/", http.Header{"X-Forwarded-Proto": {`https://evil.example/?`}}))
	assert.Equal(t, `Bearer realm="http://`+c.address()+`/auth/token",service="cache"`, response.Header.Get("Www-Authenticate"))
}
