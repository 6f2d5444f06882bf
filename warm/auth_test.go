package warm

import (
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// guarded is a fake cache that wants a login.
type guarded struct {
	*fakeCache
	challenge string
	// accepts are the Authorizations that are let in.
	accepts map[string]bool
}

func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !g.accepts[r.Header.Get("Authorization")] {
		answer := refusal(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		answer.Header.Set(accesslog.HeaderName, accesslog.Local.Header())
		answer.Header.Set("Www-Authenticate", g.challenge)
		return answer, nil
	}
	return g.fakeCache.RoundTrip(r)
}

// tokenServer answers with one token after the other.
type tokenServer struct {
	mu     sync.Mutex
	asked  []*http.Request
	bodies []url.Values
	answer func(n int) (status int, body string)
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	if r.Body != nil {
		raw, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(raw))
		s.bodies = append(s.bodies, form)
	}
	status, body := s.answer(len(s.asked))
	return response(status, accesslog.Local, []byte(body)), nil
}

func TestBasicLogin(t *testing.T) {
	f := newFake()
	f.image(t, "quay.io/a", "1", f.blob([]byte("layer")))
	connect := func(login Login) *Cache {
		c := Connect(Connection{Scheme: "http", Host: testCache, Login: login})
		c.client.Transport = &guarded{f, `Basic realm="the cache"`, map[string]bool{"Basic YWxpY2U6czpl": true}}
		return c
	}
	report, err := Run(t.Context(), connect(Login{Username: "alice", Password: "s:e"}), parse(t, "quay.io/a:1"), Options{})
	require.NoError(t, err)
	require.NoError(t, report.Images[0].Err)

	_, err = Run(t.Context(), connect(Login{}), nil, Options{})
	require.ErrorIs(t, err, errNoLogin)
	_, err = Run(t.Context(), connect(Login{Username: "alice", Password: "wrong"}), nil, Options{})
	require.ErrorIs(t, err, errWrongLogin)
	require.NotContains(t, err.Error(), "wrong")
}

func TestTokenLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.image(t, "quay.io/a", "1", f.blob([]byte("layer")), f.blob([]byte("more")), f.blob([]byte("and more")))
		tokens := &tokenServer{answer: func(int) (int, string) { return 200, `{"token":"first","expires_in":120}` }}
		c := Connect(Connection{Scheme: "http", Host: testCache, Login: Login{Username: "alice", Password: "secret"}})
		cache := &guarded{f, `Bearer realm="http://10.0.0.1/token?x=1",service="the cache",scope="repository:quay.io/a:pull"`,
			map[string]bool{"Bearer first": true}}
		c.client.Transport, c.auth.client.Transport = cache, tokens
		run := func() {
			t.Helper()
			report, err := Run(t.Context(), c, parse(t, "quay.io/a:1"), Options{})
			require.NoError(t, err)
			require.NoError(t, report.Images[0].Err)
		}
		run()
		require.Len(t, tokens.asked, 2, "one for the ping and one for the repository")
		asked := tokens.asked[1]
		user, password, _ := asked.BasicAuth()
		require.Equal(t, "alice:secret", user+":"+password)
		require.Equal(t, "10.0.0.1", asked.URL.Host)
		require.Equal(t, url.Values{"x": {"1"}, "service": {"the cache"}, "scope": {"repository:quay.io/a:pull"}}, asked.URL.Query())
		run()
		require.Len(t, tokens.asked, 2, "a token is used as long as it lasts")

		// The server's clock, or its mind: a token is refused before its time.
		cache.accepts = map[string]bool{"Bearer second": true}
		tokens.answer = func(int) (int, string) { return 200, `{"access_token":"second"}` }
		run()
		require.Len(t, tokens.asked, 4)
		time.Sleep(tokenLife)
		run()
		require.Len(t, tokens.asked, 6, "a token that does not say lasts a minute")
	})
}

func TestTokenServerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		realm  string
		status int
		body   string
		says   string
	}{
		"wrong login":  {"http://10.0.0.1/token", 401, "", "not accepted"},
		"forbidden":    {"http://10.0.0.1/token", 403, `{"errors":[{"code":"DENIED","message":"not you"}]}`, "the token server 10.0.0.1: 403 Forbidden: not you"},
		"no token":     {"http://10.0.0.1/token", 200, `{}`, "has no token"},
		"no JSON":      {"http://10.0.0.1/token", 200, `<html>`, "can't be read"},
		"no address":   {"/token", 200, ``, "is no address"},
		"other scheme": {"file:///etc/passwd", 200, ``, "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := &tokenServer{answer: func(int) (int, string) { return c.status, c.body }}
			cache := Connect(Connection{Scheme: "http", Host: testCache, Login: Login{Username: "alice", Password: "secret"}})
			cache.client.Transport = &guarded{newFake(), `Bearer realm="` + c.realm + `"`, nil}
			cache.auth.client.Transport = tokens
			_, err := Run(t.Context(), cache, nil, Options{})
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestIdentityTokenIsExchanged(t *testing.T) {
	tokens := &tokenServer{answer: func(int) (int, string) { return 200, `{"access_token":"good"}` }}
	cache := Connect(Connection{Scheme: "http", Host: testCache, Login: Login{IdentityToken: "identity"}})
	cache.client.Transport = &guarded{newFake(), `Bearer realm="https://auth/token",service="s"`, map[string]bool{"Bearer good": true}}
	cache.auth.client.Transport = tokens
	_, err := Run(t.Context(), cache, nil, Options{})
	require.NoError(t, err)
	require.Equal(t, http.MethodPost, tokens.asked[0].Method)
	require.Equal(t, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"identity"}, "client_id": {"registry-cache"}, "service": {"s"},
	}, tokens.bodies[0])
	require.Empty(t, tokens.asked[0].URL.RawQuery, "secrets stay out of addresses")
}

func TestPickChallenge(t *testing.T) {
	for line, want := range map[string]map[string]string{
		`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`: {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"},
		`bearer Realm = "https://a/t" , service=plain`:                          {"realm": "https://a/t", "service": "plain"},
		`Bearer realm="quo\"ted", x="open`:                                      {"realm": `quo"ted`, "x": "open"},
		`Bearer`:                                                                {},
	} {
		scheme, params := pickChallenge([]string{`Basic realm="x"`, line})
		require.Equal(t, bearerScheme, scheme, line)
		require.Equal(t, want, params, line)
	}
	scheme, _ := pickChallenge([]string{"Negotiate", `BASIC realm="x"`})
	require.Equal(t, basicScheme, scheme)
	scheme, _ = pickChallenge([]string{"Negotiate abc="})
	require.Empty(t, scheme)
}

func FuzzPickChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://a/t",service="s"`)
	f.Add(`Bearer a="\`)
	f.Add(`Bearer =,="=`)
	f.Fuzz(func(t *testing.T, line string) {
		scheme, params := pickChallenge([]string{line})
		if scheme != bearerScheme {
			require.Empty(t, params)
		}
	})
}
