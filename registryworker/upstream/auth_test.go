package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/logtest"
)

// bearer is an upstream that demands Bearer tokens, with a token server at
// another port. issue answers for the token server.
type bearer struct {
	*server
	tokens *server
	issue  func(w http.ResponseWriter, r *http.Request)

	mu    sync.Mutex
	count int
	valid map[string]bool // "token repo"
	// realm is what the challenge says.
	realm string
	// challenge overrides the whole challenge.
	challenge func(w http.ResponseWriter, repo string)
}

func newBearer(t *testing.T) *bearer {
	b := &bearer{valid: map[string]bool{}}
	b.issue = func(w http.ResponseWriter, r *http.Request) { b.grant(w, r, `"expires_in":300`) }
	b.tokens = newServer(t, func(w http.ResponseWriter, r *http.Request) { b.issue(w, r) })
	b.realm = b.tokens.URL + "/token?own=1"
	b.challenge = func(w http.ResponseWriter, repo string) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="the registry",scope="repository:%s:pull"`, b.realm, repo))
	}
	b.server = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		b.mu.Lock()
		ok := b.valid[r.Header.Get("Authorization")+" "+repo]
		b.mu.Unlock()
		if !ok {
			b.challenge(w, repo)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		manifest(w, r, nil)
	})
	return b
}

// grant issues a new token for every repository that is asked for.
func (b *bearer) grant(w http.ResponseWriter, r *http.Request, more string) {
	if err := r.ParseForm(); err != nil {
		panic(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	token := fmt.Sprint("token-", b.count)
	for _, scope := range strings.Fields(strings.Join(r.Form["scope"], " ")) {
		repo := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
		b.valid["Bearer "+token+" "+repo] = true
	}
	if more != "" {
		more = "," + more
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"%s"%s}`, token, more)
}

func (b *bearer) revoke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.valid)
}

func resolve(t *testing.T, c *Client, repo string) error {
	t.Helper()
	_, err := c.ResolveManifest(t.Context(), repo, "latest")
	return err
}

func TestBearer(t *testing.T) {
	b := newBearer(t)
	c := newClient(t, b.URL, withCredentials(config.Credential{Username: "me", Password: "a:b"}))
	for range 3 {
		require.NoError(t, resolve(t, c, "org/app"))
	}
	require.NoError(t, resolve(t, c, "org/other"))
	asked := b.tokens.requests()
	require.Len(t, asked, 2, "one token a repository")
	assert.Equal(t, "GET", asked[0].Method)
	assert.Equal(t, map[string][]string{"own": {"1"}, "service": {"the registry"}, "scope": {"repository:org/app:pull"}}, map[string][]string(asked[0].URL.Query()))
	assert.Equal(t, basic("me", "a:b"), asked[0].Header.Get("Authorization"))
	require.Len(t, b.requests(), 4+2, "the first request for each repository is refused, no other")
	for _, r := range b.requests() {
		assert.NotContains(t, r.Header.Get("Authorization"), "Basic", "the password is for the token server alone")
	}
}

func TestAnonymousBearer(t *testing.T) {
	b := newBearer(t)
	c := newClient(t, b.URL)
	require.NoError(t, resolve(t, c, "org/app"))
	require.Len(t, b.tokens.requests(), 1)
	assert.Empty(t, b.tokens.requests()[0].Header.Values("Authorization"))
}

func TestCredentialByLongestScope(t *testing.T) {
	creds := []config.Credential{
		{Scope: "org/repo", Username: "repo", Password: "x"},
		{Scope: "org", Username: "org", Password: "x"},
		{Username: "all", Password: "x"},
	}
	a := &authorizer{credentials: creds}
	for repo, want := range map[string]string{
		"org": "org", "org/x": "org", "org/repo": "repo", "org/repo/sub": "repo", "org/repository": "org", "organisation/x": "all", "x/org": "all",
	} {
		assert.Equal(t, want, a.credential(repo).Username, repo)
	}
	a.credentials = creds[:2]
	assert.Nil(t, a.credential("other/x"))

	b := newBearer(t)
	c := newClient(t, b.URL, withCredentials(creds...))
	require.NoError(t, resolve(t, c, "org/repo"))
	assert.Equal(t, basic("repo", "x"), b.tokens.requests()[0].Header.Get("Authorization"))
}

// basicOnly is an upstream without a token server.
func basicOnly(t *testing.T, user, password string) *server {
	return newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		manifest(w, r, nil)
	})
}

func TestBasicOnly(t *testing.T) {
	s := basicOnly(t, "me", "a:b")
	c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "a:b"}))
	require.NoError(t, resolve(t, c, "org/app"))
	require.NoError(t, resolve(t, c, "org/app"))
	require.Len(t, s.requests(), 3)
	assert.Empty(t, s.requests()[0].Header.Values("Authorization"), "nothing is sent unasked")

	err := resolve(t, newClient(t, s.URL), "org/app")
	requireKind(t, Unauthorized, err)
	assert.ErrorContains(t, err, "add credentials for registry.test to the pull secret")
	err = resolve(t, newClient(t, s.URL, withCredentials(config.Credential{IdentityToken: "x"})), "org/app")
	requireKind(t, Unauthorized, err)
	assert.ErrorContains(t, err, "the identity token for registry.test")
}

// credentialsOK reads the gauge of one credential; -1 when there is none.
func credentialsOK(t *testing.T, reg prometheus.Gatherer, key string) float64 {
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "registry_cache_upstream_credentials_ok" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "scope" && l.GetValue() == key {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return -1
}

func TestWrongCredentialsAreReportedOnce(t *testing.T) {
	t.Run("token server", func(t *testing.T) {
		b := newBearer(t)
		issue := b.issue
		requests := 0
		b.issue = func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"details":"incorrect username or password, request %d"}`, requests)
		}
		var log logtest.Buffer
		reg := prometheus.NewPedanticRegistry()
		c := newClient(t, b.URL, withCredentials(config.Credential{Scope: "org", Username: "me", Password: "hunter2"}), withLog(&log),
			func(s *setup) { s.options.Registerer = reg })
		assert.EqualValues(t, -1, credentialsOK(t, reg, "registry.test/org"))
		for _, repo := range []string{"org/app", "org/app", "org/other"} {
			err := resolve(t, c, repo)
			requireKind(t, Unauthorized, err)
			assert.ErrorContains(t, err, "incorrect username or password")
			assert.ErrorContains(t, err, "check the credentials for registry.test/org in the pull secret")
		}
		assert.Equal(t, 1, strings.Count(log.String(), "refuses the credentials"), log.String())
		assert.Contains(t, log.String(), `"credentials":"registry.test/org"`)
		assert.NotContains(t, log.String(), "hunter2")
		assert.Zero(t, credentialsOK(t, reg, "registry.test/org"))

		b.issue = issue
		require.NoError(t, resolve(t, c, "org/app"))
		assert.EqualValues(t, 1, credentialsOK(t, reg, "registry.test/org"))
		assert.Equal(t, 1, strings.Count(log.String(), "accepts the credentials again"))
	})
	t.Run("basic", func(t *testing.T) {
		s := basicOnly(t, "me", "right")
		var log logtest.Buffer
		reg := prometheus.NewPedanticRegistry()
		c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "wrong"}), withLog(&log),
			func(s *setup) { s.options.Registerer = reg })
		for range 3 {
			requireKind(t, Unauthorized, resolve(t, c, "org/app"))
		}
		assert.Len(t, s.requests(), 4, "a refused password is not sent twice for one request")
		assert.Equal(t, 1, strings.Count(log.String(), "refuses the credentials"), log.String())
		assert.Zero(t, credentialsOK(t, reg, "registry.test"))
	})
}

func TestRealmOfAnotherSite(t *testing.T) {
	b := newBearer(t)
	b.realm = strings.Replace(b.tokens.URL, "127.0.0.1", "localhost", 1) + "/token"
	creds := withCredentials(config.Credential{Username: "me", Password: "x"})
	err := resolve(t, newClient(t, b.URL, creds), "org/app")
	requireKind(t, Unauthorized, err)
	assert.ErrorContains(t, err, "add localhost to tokenRealms of registry.test in the configuration file")
	assert.Empty(t, b.tokens.requests())

	b.realm = b.tokens.URL
	allowed := func(s *setup) { s.upstream.TokenRealms = []string{"localhost"} }
	require.NoError(t, resolve(t, newClient(t, b.URL, creds, allowed), "org/app"))
}

func TestChallenges(t *testing.T) {
	set := func(b *bearer, lines ...string) {
		b.challenge = func(w http.ResponseWriter, _ string) { w.Header()["Www-Authenticate"] = lines }
	}
	me := config.Credential{Username: "me", Password: "x"}
	t.Run("bearer is preferred", func(t *testing.T) {
		b := newBearer(t)
		set(b, `Basic realm="b"`, `Bearer realm="`+b.tokens.URL+`"`)
		require.NoError(t, resolve(t, newClient(t, b.URL, withCredentials(me)), "org/app"))
		assert.Equal(t, "repository:org/app:pull", b.tokens.requests()[0].URL.Query().Get("scope"), "the scope is ours where the upstream gives none")
	})
	t.Run("basic where the realm is refused", func(t *testing.T) {
		b := newBearer(t)
		set(b, `Bearer realm="https://evil.example/", Basic realm="b"`)
		b.valid[basic("me", "x")+" org/app"] = true
		require.NoError(t, resolve(t, newClient(t, b.URL, withCredentials(me)), "org/app"))
	})
	for name, lines := range map[string][]string{"none": nil, "unknown": {"Negotiate", "Digest realm=x"}} {
		t.Run(name, func(t *testing.T) {
			b := newBearer(t)
			set(b, lines...)
			requireKind(t, Unauthorized, resolve(t, newClient(t, b.URL, withCredentials(me)), "org/app"))
			assert.Len(t, b.requests(), 1)
		})
	}
	t.Run("no realm", func(t *testing.T) {
		b := newBearer(t)
		set(b, `Bearer service="x"`)
		requireKind(t, Invalid, resolve(t, newClient(t, b.URL), "org/app"))
	})
	t.Run("several scopes", func(t *testing.T) {
		b := newBearer(t)
		set(b, `Bearer realm="`+b.tokens.URL+`",scope="repository:org/app:pull repository:base:pull"`)
		require.NoError(t, resolve(t, newClient(t, b.URL), "org/app"))
		assert.Equal(t, []string{"repository:org/app:pull", "repository:base:pull"}, b.tokens.requests()[0].URL.Query()["scope"])
	})
}

func TestGrantsAreBounded(t *testing.T) {
	a := &authorizer{grants: map[grantKey]*grant{}, now: time.Now}
	stale := grantKey{"x", "stale"}
	a.remember(stale, &grant{expires: time.Now().Add(-time.Hour)})
	for i := range maxGrants + 10 {
		a.remember(grantKey{"x", fmt.Sprint(i)}, &grant{})
	}
	assert.Len(t, a.grants, maxGrants)
	assert.NotContains(t, a.grants, stale)
	assert.Contains(t, a.grants, grantKey{"x", fmt.Sprint(maxGrants + 9)})
}

func TestMetrics(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ratelimit-limit", "100;w=21600")
		w.Header().Set("ratelimit-remaining", "76;w=21600")
		manifest(w, r, nil)
	})
	reg := prometheus.NewPedanticRegistry()
	join := func(s *setup) { s.options.Registerer = reg }
	c := newClient(t, s.URL, join)
	newClient(t, s.URL, join, func(s *setup) { s.upstream.Name = "second.test" })
	require.NoError(t, resolve(t, c, "org/app"))
	_, _, err := c.Manifest(t.Context(), "org/app", testDigest)
	require.NoError(t, err)
	s.Close()
	require.Error(t, resolve(t, c, "org/app"))
	assert.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP registry_cache_upstream_requests_total Requests sent to the upstream, its token servers and the targets of its redirects; code is the HTTP status, or error when there was no answer.
# TYPE registry_cache_upstream_requests_total counter
registry_cache_upstream_requests_total{code="200",method="GET",upstream="registry.test"} 1
registry_cache_upstream_requests_total{code="200",method="HEAD",upstream="registry.test"} 1
registry_cache_upstream_requests_total{code="error",method="HEAD",upstream="registry.test"} 1
# HELP registry_cache_upstream_received_bytes_total Bytes of response bodies received from the upstream.
# TYPE registry_cache_upstream_received_bytes_total counter
registry_cache_upstream_received_bytes_total{upstream="registry.test"} 76
registry_cache_upstream_received_bytes_total{upstream="second.test"} 0
# HELP registry_cache_upstream_ratelimit_limit Pulls that the upstream allows in its time window, as it last said.
# TYPE registry_cache_upstream_ratelimit_limit gauge
registry_cache_upstream_ratelimit_limit{upstream="registry.test"} 100
# HELP registry_cache_upstream_ratelimit_remaining Pulls left in the upstream's time window, as it last said.
# TYPE registry_cache_upstream_ratelimit_remaining gauge
registry_cache_upstream_ratelimit_remaining{upstream="registry.test"} 76
`), "registry_cache_upstream_requests_total", "registry_cache_upstream_received_bytes_total",
		"registry_cache_upstream_ratelimit_limit", "registry_cache_upstream_ratelimit_remaining"))
	waited, err := testutil.GatherAndCount(reg, "registry_cache_upstream_answer_seconds")
	require.NoError(t, err)
	assert.Equal(t, 2, waited, "one for each method")
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
