package upstream

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

func TestTokenExpires(t *testing.T) {
	for expiry, good := range map[string]time.Duration{
		`"expires_in":300`:          290 * time.Second,
		`"expires_in":"100"`:        90 * time.Second,
		`"expires_in":50.5`:         45 * time.Second,
		``:                          54 * time.Second,
		`"expires_in":0`:            54 * time.Second,
		`"expires_in":-5`:           54 * time.Second,
		`"expires_in":1e300`:        24*time.Hour - 10*time.Second,
		`"token":"","expires_in":5`: 4500 * time.Millisecond,
	} {
		t.Run(expiry, func(t *testing.T) {
			b := newBearer(t)
			b.issue = func(w http.ResponseWriter, r *http.Request) { b.grant(w, r, expiry) }
			c := newClient(t, b.URL)
			now := time.Now()
			c.auth.now = func() time.Time { return now }
			require.NoError(t, resolve(t, c, "org/app"))
			now = now.Add(good - time.Second)
			require.NoError(t, resolve(t, c, "org/app"))
			assert.Len(t, b.tokens.requests(), 1)
			now = now.Add(2 * time.Second)
			require.NoError(t, resolve(t, c, "org/app"))
			assert.Len(t, b.tokens.requests(), 2)
			assert.Len(t, b.requests(), 4, "an expired token is replaced before it is refused")
		})
	}
}

// Some token servers have one token for an account (Nexus, GitHub for an access
// token) or keep theirs until it expires.
func TestSameTokenAgainAfterItsTime(t *testing.T) {
	b := newBearer(t)
	b.issue = func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"token":"lasting"}`) }
	b.valid["Bearer lasting org/app"] = true
	c := newClient(t, b.URL)
	now := time.Now()
	c.auth.now = func() time.Time { return now }
	for range 3 {
		require.NoError(t, resolve(t, c, "org/app"))
		now = now.Add(defaultExpiry)
	}
	assert.Len(t, b.tokens.requests(), 3)
	assert.Len(t, b.requests(), 1+3, "none but the first is refused")

	b.revoke()
	requireKind(t, Unauthorized, resolve(t, c, "org/app"))
}

func TestTokenIsRefetchedOnce(t *testing.T) {
	b := newBearer(t)
	c := newClient(t, b.URL)
	require.NoError(t, resolve(t, c, "org/app"))
	b.revoke()
	require.NoError(t, resolve(t, c, "org/app"), "a revoked token is replaced")
	assert.Len(t, b.tokens.requests(), 2)

	b.issue = func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"token":"worthless"}`) }
	b.revoke()
	before := len(b.requests())
	err := resolve(t, c, "org/app")
	requireKind(t, Unauthorized, err)
	assert.ErrorContains(t, err, "check the name; if it is private, add credentials for registry.test to the pull secret")
	assert.Len(t, b.tokens.requests(), 3)
	assert.Len(t, b.requests(), before+2)
}

func TestSameTokenAgainIsNotTried(t *testing.T) {
	b := newBearer(t)
	b.issue = func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"token":"worthless"}`) }
	c := newClient(t, b.URL, withCredentials(config.Credential{Username: "me", Password: "x"}))
	requireKind(t, Unauthorized, resolve(t, c, "org/app"))
	before := len(b.requests())
	err := resolve(t, c, "org/app")
	requireKind(t, Unauthorized, err)
	assert.ErrorContains(t, err, "check the name, and that the account for registry.test in the pull secret may pull it")
	assert.Len(t, b.requests(), before+1)
}

func TestOneTokenForAllAtOnce(t *testing.T) {
	const clients = 20
	b := newBearer(t)
	everyoneRefused := make(chan struct{})
	challenge, refused := b.challenge, 0
	b.challenge = func(w http.ResponseWriter, repo string) {
		b.mu.Lock()
		if refused++; refused == clients {
			close(everyoneRefused)
		}
		b.mu.Unlock()
		challenge(w, repo)
	}
	issue := b.issue
	b.issue = func(w http.ResponseWriter, r *http.Request) {
		<-everyoneRefused
		issue(w, r)
	}
	c := newClient(t, b.URL)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { assert.NoError(t, resolve(t, c, "org/app")) })
	}
	wg.Wait()
	assert.Len(t, b.tokens.requests(), 1)
}

func TestTokenFetchOutlivesItsCaller(t *testing.T) {
	b := newBearer(t)
	asked, release := make(chan struct{}), make(chan struct{})
	issue := b.issue
	b.issue = func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		issue(w, r)
	}
	c := newClient(t, b.URL)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := c.ResolveManifest(ctx, "org/app", "latest")
	requireKind(t, Unavailable, err)
	assert.ErrorIs(t, err, context.Canceled)
	close(release)
	require.NoError(t, resolve(t, c, "org/app"))
	assert.Len(t, b.tokens.requests(), 1)
}

func TestCloseEndsTokenFetches(t *testing.T) {
	b := newBearer(t)
	var c *Client
	b.issue = func(_ http.ResponseWriter, r *http.Request) {
		c.Close()
		<-r.Context().Done()
	}
	c = newClient(t, b.URL)
	requireKind(t, Unavailable, resolve(t, c, "org/app"))
}

func TestIdentityTokenIsRotated(t *testing.T) {
	b := newBearer(t)
	var traded []string
	b.issue = func(w http.ResponseWriter, r *http.Request) {
		traded = append(traded, r.PostFormValue("refresh_token"))
		b.grant(w, r, `"refresh_token":"second"`)
	}
	c := newClient(t, b.URL, withCredentials(config.Credential{Username: "00000000-0000", IdentityToken: "first"}))
	require.NoError(t, resolve(t, c, "org/app"))
	require.NoError(t, resolve(t, c, "org/other"))
	assert.Equal(t, []string{"first", "second"}, traded)
	for _, r := range b.tokens.requests() {
		assert.Equal(t, "POST", r.Method)
		assert.Empty(t, r.Header.Values("Authorization"))
		assert.Equal(t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
	}
}

func TestPostForms(t *testing.T) {
	for name, test := range map[string]struct {
		cred   config.Credential
		refuse func(r *http.Request) bool
		want   []string // of each request: method, then the form's keys we care for
	}{
		"identity token": {
			config.Credential{IdentityToken: "idt"}, nil,
			[]string{"POST refresh_token idt repository:org/app:pull the registry registry-cache"},
		},
		"identity token where only GET is known": {
			config.Credential{Username: "me", Password: "x", IdentityToken: "idt"}, func(r *http.Request) bool { return r.Method == http.MethodPost },
			[]string{"POST refresh_token idt repository:org/app:pull the registry registry-cache", "GET   repository:org/app:pull the registry "},
		},
		"password where only POST is known": {
			config.Credential{Username: "me", Password: "p&w"}, func(r *http.Request) bool { return r.Method == http.MethodGet },
			[]string{"GET   repository:org/app:pull the registry ", "POST password me:p&w repository:org/app:pull the registry registry-cache"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
				b := newBearer(t)
				var got []string
				b.issue = func(w http.ResponseWriter, r *http.Request) {
					assert.NoError(t, r.ParseForm())
					secret := r.Form.Get("refresh_token")
					if u := r.Form.Get("username"); u != "" {
						secret = u + ":" + r.Form.Get("password")
					}
					got = append(got, strings.Join([]string{r.Method, r.Form.Get("grant_type"), secret, r.Form.Get("scope"), r.Form.Get("service"), r.Form.Get("client_id")}, " "))
					if test.refuse != nil && test.refuse(r) {
						w.WriteHeader(status)
						return
					}
					b.grant(w, r, "")
				}
				require.NoError(t, resolve(t, newClient(t, b.URL, withCredentials(test.cred)), "org/app"))
				assert.Equal(t, test.want, got)
			}
		})
	}
}

func TestTokenServerFailures(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}
	}
	for name, test := range map[string]struct {
		issue http.HandlerFunc
		kind  Kind
		text  string
	}{
		"403":           {answer(403, `{"errors":[{"code":"DENIED","message":"no"}]}`), Denied, "DENIED: no"},
		"404":           {answer(404, ""), Invalid, "HTTP 404"},
		"429":           {answer(429, ""), RateLimited, "retry after 9s"},
		"503":           {answer(503, ""), Unavailable, "HTTP 503"},
		"dropped":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Unavailable, "EOF"},
		"not JSON":      {answer(200, "<html>"), Invalid, "malformed JSON"},
		"empty":         {answer(200, "{}"), Invalid, "neither token nor access_token"},
		"no header":     {answer(200, `{"token":"a\r\nX-Evil: 1"}`), Invalid, "can't stand in a header"},
		"flood":         {answer(200, `{"token":"`+strings.Repeat("x", maxTokenAnswer)+`"}`), Invalid, "malformed JSON"},
		"redirect loop": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }, Invalid, "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBearer(t)
			b.issue = test.issue
			err := resolve(t, newClient(t, b.URL), "org/app")
			requireKind(t, test.kind, err)
			assert.ErrorContains(t, err, "get a token for org/app from 127.0.0.1:")
			assert.ErrorContains(t, err, test.text)
		})
	}
}

// TestTokenServerTrickles: the time limits of single phases never end this.
func TestTokenServerTrickles(t *testing.T) {
	b := newBearer(t)
	issue := b.issue
	var mended atomic.Bool
	b.issue = func(w http.ResponseWriter, r *http.Request) {
		if mended.Load() {
			issue(w, r)
			return
		}
		for tick := time.NewTicker(time.Millisecond); r.Context().Err() == nil; <-tick.C {
			_, _ = fmt.Fprint(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}
	c := newClient(t, b.URL)
	c.auth.tokenTimeout = 20 * time.Millisecond
	err := resolve(t, c, "org/app")
	requireKind(t, Unavailable, err)
	assert.ErrorContains(t, err, "get a token for org/app from 127.0.0.1:")

	mended.Store(true)
	c.auth.tokenTimeout = time.Minute
	require.NoError(t, resolve(t, c, "org/app"))
}

func TestTokenServerRedirects(t *testing.T) {
	stranger := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"token":"x"}`) })
	for name, cred := range map[string]config.Credential{
		"get":  {Username: "me", Password: "hunter2"},
		"post": {IdentityToken: "hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBearer(t)
			b.issue = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, stranger.URL, http.StatusTemporaryRedirect)
			}
			before := len(stranger.requests())
			requireKind(t, map[string]Kind{"get": Unauthorized, "post": Invalid}[name], resolve(t, newClient(t, b.URL, withCredentials(cred)), "org/app"))
			for _, r := range stranger.requests()[before:] {
				assert.Empty(t, r.Header.Values("Authorization"))
				assert.Equal(t, "GET", r.Method)
			}
		})
	}
}
