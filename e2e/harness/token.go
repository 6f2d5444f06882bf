package harness

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	tokenService = "registry.test"
	tokenIssuer  = "auth.test"
)

// User may pull from the repositories that one of the patterns (path.Match, or
// a trailing /* for any depth) matches.
type User struct {
	Password     string
	Repositories []string
}

// TokenServer is a token service of the kind Docker Hub and quay.io have: it
// takes Basic credentials, or none where the user "" exists, and gives out
// signed tokens that grant pulls from the repositories in the asked scope
// which the user may see, and nothing else.
type TokenServer struct {
	*Front
	// Bundle is the path of the certificate that tokens are verified with.
	Bundle string

	cert []byte // DER
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	users  map[string]User
	ttl    time.Duration
	issued []string
}

// NewTokenServer listens on the address, of which the port is usually 0.
func NewTokenServer(t testing.TB, addr string, users map[string]User) *TokenServer {
	t.Helper()
	pair := NewPair(t, tokenIssuer)
	block, _ := pem.Decode(pair.Cert)
	s := &TokenServer{
		Bundle: filepath.Join(TempDir(t), "bundle.pem"),
		cert:   block.Bytes, key: pair.key, users: users, ttl: 5 * time.Minute,
	}
	require.NoError(t, os.WriteFile(s.Bundle, pair.Cert, 0o600))
	s.Front = NewFront(t, addr, http.HandlerFunc(s.serve), nil)
	return s
}

// Realm is the address that clients fetch tokens from.
func (s *TokenServer) Realm() string { return s.URL() + "/token" }

// Environment makes a registry or the cache want this server's tokens.
func (s *TokenServer) Environment() map[string]string {
	return map[string]string{
		"REGISTRY_AUTH": "token", "REGISTRY_AUTH_TOKEN_REALM": s.Realm(),
		"REGISTRY_AUTH_TOKEN_SERVICE": tokenService, "REGISTRY_AUTH_TOKEN_ISSUER": tokenIssuer,
		"REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": s.Bundle,
	}
}

// SetUser adds or replaces a user.
func (s *TokenServer) SetUser(name string, user User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = user
}

// RemoveUser makes the credentials of a user wrong.
func (s *TokenServer) RemoveUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, name)
}

// Issued are the tokens given out so far.
func (s *TokenServer) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (s *TokenServer) serve(w http.ResponseWriter, r *http.Request) {
	name, password, _ := r.BasicAuth()
	s.mu.Lock()
	user, known := s.users[name]
	ttl := s.ttl
	s.mu.Unlock()
	if !known || user.Password != password {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"invalid username/password"}]}`, http.StatusUnauthorized)
		return
	}
	granted := []access{}
	for _, scope := range r.URL.Query()["scope"] {
		kind, rest, _ := strings.Cut(scope, ":")
		repo, actions, _ := strings.Cut(rest, ":")
		if kind == "repository" && strings.Contains(actions, "pull") && user.sees(repo) {
			granted = append(granted, access{Type: kind, Name: repo, Actions: []string{"pull"}})
		}
	}
	token, err := s.sign(name, granted, ttl)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	s.issued = append(s.issued, token)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(ttl.Seconds())})
}

func (u User) sees(repo string) bool {
	for _, pattern := range u.Repositories {
		if ok, _ := path.Match(pattern, repo); ok {
			return true
		}
		if prefix, deep := strings.CutSuffix(pattern, "/*"); deep && strings.HasPrefix(repo, prefix+"/") {
			return true
		}
	}
	return false
}

// sign makes a JSON web token (RFC 7519) with ES256 and the certificate in
// its x5c header, which distribution checks against the bundle.
func (s *TokenServer) sign(subject string, granted []access, ttl time.Duration) (string, error) {
	now := time.Now()
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	var parts [2]string
	for i, part := range []any{
		map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.cert)}},
		map[string]any{
			"iss": tokenIssuer, "aud": tokenService, "sub": subject, "access": granted, "jti": id,
			"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(ttl).Unix(),
		},
	} {
		raw, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := parts[0] + "." + parts[1]
	sum := sha256.Sum256([]byte(signed))
	r, sig, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	sig.FillBytes(raw[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(raw), nil
}
