package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// checked is an upstream that takes the token "good", which its token server
// gives to the user "me" and, where strangers are welcome, to anybody.
func checked(t *testing.T, strangers bool) (registry, tokens *server) {
	tokens = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.URL.Query(), "scope")
		user, password, ok := r.BasicAuth()
		if ok && (user != "me" || password != "right") || !ok && !strangers {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, `{"token":"good"}`)
	})
	registry = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	return registry, tokens
}

func TestCheckCredentials(t *testing.T) {
	registry, _ := checked(t, true)
	reg := prometheus.NewPedanticRegistry()
	c := newClient(t, registry.URL, func(s *setup) { s.options.Registerer = reg }, withCredentials(
		config.Credential{Scope: "org", Username: "me", Password: "right"},
		config.Credential{Username: "you", Password: "hunter2"},
	))
	checks := c.Check(t.Context())
	require.Len(t, checks, 2)
	assert.Equal(t, Check{Scope: "org", Username: "me"}, checks[0])
	assert.Equal(t, "you", checks[1].Username)
	requireKind(t, Unauthorized, checks[1].Err)
	assert.ErrorContains(t, checks[1].Err, "check the credentials for registry.test in the pull secret")
	assert.NotContains(t, checks[1].Err.Error(), "hunter2")
	assert.EqualValues(t, 1, credentialsOK(t, reg, "registry.test/org"))
	assert.Zero(t, credentialsOK(t, reg, "registry.test"))
	for _, r := range registry.requests() {
		assert.Equal(t, "/v2/", r.URL.Path)
	}
}

func TestCheckAnonymous(t *testing.T) {
	for _, strangers := range []bool{true, false} {
		t.Run(fmt.Sprint("token without a repository: ", strangers), func(t *testing.T) {
			registry, tokens := checked(t, strangers)
			checks := newClient(t, registry.URL).Check(t.Context())
			assert.Equal(t, []Check{{}}, checks)
			assert.Len(t, tokens.requests(), 1)
		})
	}
}

func TestCheckFindings(t *testing.T) {
	me := config.Credential{Username: "me", Password: "right"}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	challenge := func(line string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", line)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	for name, test := range map[string]struct {
		handler   http.HandlerFunc
		anonymous bool
		kind      Kind // 0 is no error
		text      string
	}{
		"open to all":                  {status(200), true, 0, ""},
		"open to all, credentials too": {status(200), false, 0, ""},
		"no registry":                  {status(404), true, NotFound, "check url"},
		"down":                         {status(503), true, Unavailable, "HTTP 503"},
		"anonymous is not enough":      {challenge("Basic"), true, Unauthorized, "add credentials for registry.test"},
		"password refused":             {challenge("Basic"), false, Unauthorized, "check the credentials for registry.test"},
		"no way to log in":             {status(401), false, Unauthorized, "check the credentials"},
		"realm elsewhere":              {challenge(`Bearer realm="https://evil.example/"`), false, Unauthorized, "tokenRealms"},
		"realm elsewhere, anonymous":   {challenge(`Bearer realm="https://evil.example/"`), true, Unauthorized, "tokenRealms"},
		"token server down":            {challenge(`Bearer realm="http://127.0.0.1:1/"`), true, Unavailable, "connection refused"},
		"account locked": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				challenge("Basic")(w, r)
				return
			}
			status(403)(w, r)
		}, false, Denied, "the account for registry.test"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.handler)
			creds := []config.Credential{me}
			if test.anonymous {
				creds = nil
			}
			checks := newClient(t, s.URL, withCredentials(creds...)).Check(t.Context())
			require.Len(t, checks, 1)
			if test.kind == 0 {
				require.NoError(t, checks[0].Err)
				return
			}
			requireKind(t, test.kind, checks[0].Err)
			assert.ErrorContains(t, checks[0].Err, test.text)
			assert.True(t, strings.Contains(checks[0].Err.Error(), "check http://127.0.0.1") || strings.Contains(checks[0].Err.Error(), "token"), checks[0].Err)
		})
	}
}
