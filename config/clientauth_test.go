package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

var goodHash = hashOf("secret", bcrypt.MinCost)

func hashOf(password string, cost int) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		panic(err)
	}
	return string(hash)
}

func TestHtpasswd(t *testing.T) {
	apache := "$2y$" + strings.TrimPrefix(goodHash, "$2a$") // as Apache's tool writes it
	content := "# users\r\n\r\nalice:" + apache + "\r\n  bob:" + goodHash
	for _, kind := range []string{"", "htpasswd", "HTPASSWD"} {
		s := newSite(t)
		s.env["REGISTRY_AUTH"] = kind
		s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", content)
		cfg := s.load()
		assert.Equal(t, ClientAuth{Type: "htpasswd", Realm: "registry-cache", Htpasswd: Secret(content)}, cfg.Auth)
		s.requireNotice("clients send their passwords or tokens unencrypted")
		s.env["REGISTRY_AUTH_HTPASSWD_REALM"] = "The Cache"
		assert.Equal(t, "The Cache", s.load().Auth.Realm)
	}
}

func TestBadHtpasswd(t *testing.T) {
	const cure = "; make the line with `htpasswd -nB <user>`"
	const create = "; make it with `htpasswd -B -c <file> <user>`"
	slow := strings.Replace(goodHash, "$04$", "$17$", 1)
	for name, test := range map[string]struct{ content, want string }{
		"empty":          {"", "htpasswd: holds no user" + cure},
		"comments only":  {"# nobody\n\n", "htpasswd: holds no user" + cure},
		"no colon":       {"a:" + goodHash + "\nhunter2\n", "htpasswd:2: is not user:hash" + cure},
		"no user":        {":" + goodHash, "htpasswd:1: is not user:hash" + cure},
		"MD5":            {"\na:$apr1$x$y", "htpasswd:2: the hash is not bcrypt, the only kind accepted" + cure},
		"SHA":            {"a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "htpasswd:1: the hash is not bcrypt, the only kind accepted" + cure},
		"plain":          {"a:hunter2", "htpasswd:1: the hash is not bcrypt, the only kind accepted" + cure},
		"cut short":      {"a:" + goodHash[:59], "htpasswd:1: the bcrypt hash is damaged" + cure},
		"wrong letters":  {"a:" + goodHash[:59] + "!", "htpasswd:1: the bcrypt hash is damaged" + cure},
		"cost too low":   {"a:" + strings.Replace(goodHash, "$04$", "$03$", 1), "htpasswd:1: the bcrypt hash is damaged" + cure},
		"cost too high":  {"a:" + slow, "htpasswd:1: bcrypt's cost of 17 takes too long to check; use at most 16" + cure},
		"user twice":     {"a:" + goodHash + "\n\na:" + goodHash, "htpasswd:3: is for the same user as line 1; keep one"},
		"not UTF-8":      {"\xfc:" + goodHash, "REGISTRY_AUTH_HTPASSWD_PATH: htpasswd is not UTF-8 text; save it as UTF-8" + create},
		"file not there": {"-", "REGISTRY_AUTH_HTPASSWD_PATH: nowhere does not exist" + create},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", test.content)
			if test.content == "-" {
				s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.dir + "/nowhere"
			}
			s.requireMistakes(test.want)
		})
	}
}

func TestChoiceOfClientAuth(t *testing.T) {
	for name, test := range map[string]struct{ auth, set, want string }{
		"nothing":            {"", "", ""},
		"none":               {"none", "", ""},
		"none wins":          {"None", "REGISTRY_AUTH_HTPASSWD_PATH", ""},
		"unknown":            {"silly", "", "REGISTRY_AUTH: is not a kind of client authentication; write none, htpasswd or token"},
		"htpasswd, no file":  {"htpasswd", "", "REGISTRY_AUTH_HTPASSWD_PATH: is missing; name the file, made with `htpasswd -B -c <file> <user>`"},
		"realm alone":        {"", "REGISTRY_AUTH_HTPASSWD_REALM", "REGISTRY_AUTH_HTPASSWD_PATH: is missing; name the file, made with `htpasswd -B -c <file> <user>`"},
		"both":               {"", "REGISTRY_AUTH_HTPASSWD_PATH REGISTRY_AUTH_TOKEN_REALM", "REGISTRY_AUTH: is needed when there are both REGISTRY_AUTH_HTPASSWD_* and REGISTRY_AUTH_TOKEN_* variables; write htpasswd or token, and remove the others"},
		"htpasswd and token": {"htpasswd", "REGISTRY_AUTH_TOKEN_REALM", "REGISTRY_AUTH_TOKEN_REALM: has no effect when REGISTRY_AUTH is htpasswd; remove one of the two"},
		"token and htpasswd": {"token", "REGISTRY_AUTH_HTPASSWD_PATH", "REGISTRY_AUTH_HTPASSWD_PATH: has no effect when REGISTRY_AUTH is token; remove one of the two"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.env["REGISTRY_AUTH"] = test.auth
			for _, name := range strings.Fields(test.set) {
				s.env[name] = "x"
			}
			if test.want != "" {
				s.requireMistakes(test.want)
				return
			}
			assert.Zero(t, s.load().Auth)
			if test.set != "" {
				s.requireNotice("REGISTRY_AUTH is none, so clients need no password although " + test.set + " is set")
			}
		})
	}
	s := newSite(t)
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "a:"+goodHash)
	s.env["REGISTRY_AUTH_HTPASSWD_REALM"] = `a"b`
	s.requireMistakes("REGISTRY_AUTH_HTPASSWD_REALM: can't hold quotes, backslashes or line ends; write a plain name")
}

const keySet = `{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0", "alg": "HS256"}]}`

func tokenSite(t *testing.T) *site {
	s := newSite(t)
	s.env["REGISTRY_AUTH"] = "token"
	s.env["REGISTRY_AUTH_TOKEN_REALM"] = "https://auth.lab:5001/token"
	s.env["REGISTRY_AUTH_TOKEN_SERVICE"] = "cache"
	s.env["REGISTRY_AUTH_TOKEN_ISSUER"] = "lab"
	s.env["REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE"] = s.file("bundle.pem", newAuthority(t).cert())
	return s
}

// What is accepted here must be accepted by distribution.
func TestToken(t *testing.T) {
	accepted := func(s *site) ClientAuth {
		sent, err := json.Marshal(s.load().Auth)
		require.NoError(t, err)
		var received ClientAuth
		require.NoError(t, json.Unmarshal(sent, &received))
		_, err = auth.GetAccessController(received.Type, received.TokenOptions())
		require.NoError(t, err)
		return received
	}
	s := tokenSite(t)
	assert.Equal(t, map[string]string{
		"realm": "https://auth.lab:5001/token", "service": "cache", "issuer": "lab",
		"autoredirect": "false", "autoredirectpath": "/auth/token", "rootcertbundle": s.dir + "/bundle.pem",
	}, accepted(s).Token)
	assert.Contains(t, s.load().Watch, s.dir+"/bundle.pem")

	delete(s.env, "REGISTRY_AUTH")
	delete(s.env, "REGISTRY_AUTH_TOKEN_REALM")
	delete(s.env, "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE")
	s.env["REGISTRY_AUTH_TOKEN_JWKS"] = s.file("jwks.json", keySet)
	s.env["REGISTRY_AUTH_TOKEN_AUTOREDIRECT"] = "true"
	s.env["REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH"] = "/token"
	s.env["REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS"] = `["ES256", "RS256"]`
	assert.Equal(t, map[string]any{
		"realm": "", "service": "cache", "issuer": "lab", "jwks": s.dir + "/jwks.json",
		"autoredirect": true, "autoredirectpath": "/token", "signingalgorithms": []any{"ES256", "RS256"},
	}, accepted(s).TokenOptions())
	assert.Contains(t, s.load().Watch, s.dir+"/jwks.json")
}

func TestBadToken(t *testing.T) {
	const realm = "REGISTRY_AUTH_TOKEN_REALM: must be the URL of the token server, without user or password; write for example https://auth.example.com/token"
	const keys = `; a JSON Web Key Set is needed: {"keys": [...]}`
	for _, test := range []struct{ name, value, want string }{
		{"REALM", "", realm},
		{"REALM", "auth.lab", realm},
		{"REALM", "https://u:p@auth.lab", realm},
		{"SERVICE", "", "REGISTRY_AUTH_TOKEN_SERVICE: is missing; write what the token server puts into its tokens"},
		{"ISSUER", "", "REGISTRY_AUTH_TOKEN_ISSUER: is missing; write what the token server puts into its tokens"},
		{"AUTOREDIRECT", "on", `REGISTRY_AUTH_TOKEN_AUTOREDIRECT: "on" is neither true nor false`},
		{"AUTOREDIRECTPATH", "token", "REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH: must begin with a slash; write for example /auth/token"},
		{"ROOTCERTBUNDLE", "", "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: is missing, and so is REGISTRY_AUTH_TOKEN_JWKS; one must hold the keys that sign tokens"},
		{"ROOTCERTBUNDLE", "/nowhere", "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: /nowhere does not exist"},
		{"JWKS", "/nowhere", "REGISTRY_AUTH_TOKEN_JWKS: /nowhere does not exist"},
		{"JWKS", "file:", "jwks.json: is empty" + keys},
		{"JWKS", "file:[", "jwks.json: is not JSON: line 1 ends before all quotes and brackets are closed" + keys},
		{"JWKS", `file:{"keys": []}`, "jwks.json: holds no keys" + keys},
		{"JWKS", `file:{"keys": [{}]}`, "jwks.json: key 1 has no kty" + keys},
		{"SIGNINGALGORITHMS", "ES256,RS257", `REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS: "RS257" is not an algorithm; did you mean RS256? (known are ` + strings.Join(signingAlgorithms, ", ") + ")"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			s := tokenSite(t)
			value := test.value
			if content, ok := strings.CutPrefix(value, "file:"); ok {
				value = s.file("jwks.json", content)
			}
			s.env["REGISTRY_AUTH_TOKEN_"+test.name] = value
			s.requireMistakes(test.want)
		})
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("# x\n\nalice:" + goodHash + "\r\nbob:{SHA}x\n"))
	f.Add([]byte("alice:" + goodHash + "\nalice:x"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := &loader{cfg: &Config{}}
		users := l.parseHtpasswd("htpasswd", content)
		if l.count() > 0 {
			return
		}
		require.NotEmpty(t, users)
		for user := range users {
			require.NotEmpty(t, user)
			require.True(t, strings.Contains(string(content), fmt.Sprintf("%s:$2", user)))
		}
	})
}
