package router

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/config"
)

// htpasswd makes client auth for alternating users and passwords.
func htpasswd(t *testing.T, pairs ...string) config.ClientAuth {
	t.Helper()
	var content strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(pairs[i+1]), bcrypt.MinCost)
		require.NoError(t, err)
		content.WriteString(pairs[i] + ":" + string(hash) + "\n")
	}
	return config.ClientAuth{Type: config.AuthHtpasswd, Realm: "the cache", Htpasswd: config.Secret(content.String())}
}

// countChecks makes the controller count the credentials it is asked about,
// after the one at start.
func (c *cache) countChecks() *atomic.Int64 {
	checks := new(atomic.Int64)
	c.tune.newController = func(kind string, options map[string]any) (auth.AccessController, error) {
		inner, err := distributionController(kind, options)
		return countingController{inner, checks}, err
	}
	return checks
}

type countingController struct {
	auth.AccessController
	checks *atomic.Int64
}

func (c countingController) Authorized(r *http.Request, access ...auth.Access) (*auth.Grant, error) {
	if user, _, ok := r.BasicAuth(); ok && user != "" {
		c.checks.Add(1)
	}
	return c.AccessController.Authorized(r, access...)
}

func (c *cache) as(user, password, path string) *http.Response {
	c.t.Helper()
	r := c.request(http.MethodGet, path, nil)
	r.SetBasicAuth(user, password)
	response, _ := c.do(r)
	return response
}

func TestBasicAuth(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "pass:word", "bob", "b")
	c.worker("quay.io", func(_ http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Authorization"), "no worker ever sees one")
	})
	c.start()
	for _, path := range []string{"/v2/", "/v2", "/v2/quay.io/a/manifests/1", "/v2/_catalog", "/v2/unknown.example/a/manifests/1"} {
		for name, credential := range map[string]func(*http.Request){
			"missing":        func(*http.Request) {},
			"empty":          func(r *http.Request) { r.SetBasicAuth("", "") },
			"no user":        func(r *http.Request) { r.SetBasicAuth("", "pass:word") },
			"no password":    func(r *http.Request) { r.SetBasicAuth("ann", "") },
			"wrong":          func(r *http.Request) { r.SetBasicAuth("ann", "b") },
			"unknown user":   func(r *http.Request) { r.SetBasicAuth("eve", "pass:word") },
			"cut at a colon": func(r *http.Request) { r.SetBasicAuth("ann:pass", "word2") },
			"not base64":     func(r *http.Request) { r.Header.Set("Authorization", "Basic %%%") },
			"bearer":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer abc") },
		} {
			r := c.request(http.MethodGet, path, nil)
			credential(r)
			response, body := c.do(r)
			assert.Equal(t, http.StatusUnauthorized, response.StatusCode, "%s %s", name, path)
			assert.Equal(t, `Basic realm="the cache"`, response.Header.Get("Www-Authenticate"), "%s %s", name, path)
			requireError(t, body, errcode.ErrorCodeUnauthorized, "authentication required")
			assert.NotContains(t, body, "quay.io", "strangers don't learn what upstreams there are")
		}
	}
	for _, path := range []string{"/v2/", "/v2/quay.io/a/manifests/1", "/v2/_catalog"} {
		assert.Equal(t, http.StatusOK, c.as("ann", "pass:word", path).StatusCode, path)
		assert.Equal(t, http.StatusOK, c.as("bob", "b", path).StatusCode, path)
	}
	for _, secret := range []string{"pass:word", "eve", "$2"} {
		assert.NotContains(t, c.log.String(), secret)
		content, err := os.ReadFile(c.settings.AccessLog)
		require.NoError(t, err)
		assert.NotContains(t, string(content), secret)
	}
}

func TestUserIsLoggedOnceVerified(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "right")
	c.start()
	c.as("ann", "wrong", "/v2/")
	c.as("ann", "wrong", "/v2/")
	c.as("ann", "right", "/v2/")
	records := c.records(3)
	assert.Empty(t, records[0].User)
	assert.Empty(t, records[1].User)
	assert.Equal(t, "ann", records[2].User)
}

func TestWithoutAuthCredentialsAreIgnored(t *testing.T) {
	c := newCache(t)
	c.start()
	assert.Equal(t, http.StatusOK, c.as("anyone", "anything", "/v2/").StatusCode)
	assert.Empty(t, c.records(1)[0].User)
}

func TestPasswordIsCheckedOncePerCredential(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "right")
	checks := c.countChecks()
	c.start()
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() { assert.Equal(t, http.StatusOK, c.as("ann", "right", "/v2/").StatusCode) })
	}
	clients.Wait()
	assert.Equal(t, int64(1), checks.Load(), "at once")
	c.as("ann", "right", "/v2/")
	assert.Equal(t, int64(1), checks.Load(), "one after the other")

	for range 3 {
		assert.Equal(t, http.StatusUnauthorized, c.as("ann", "wrong", "/v2/").StatusCode)
	}
	assert.Equal(t, int64(2), checks.Load(), "wrong ones, too")
	assert.Equal(t, http.StatusOK, c.as("ann", "right", "/v2/").StatusCode, "guesses lock nobody out")
}

func TestNewPasswordsTakeEffectAtOnce(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "old")
	checks := c.countChecks()
	c.start()
	require.Equal(t, http.StatusOK, c.as("ann", "old", "/v2/").StatusCode)

	c.update(func(s *config.Router) { s.DefaultRoute = "quay.io" })
	require.Equal(t, http.StatusOK, c.as("ann", "old", "/v2/").StatusCode)
	require.Equal(t, int64(1), checks.Load(), "verified credentials outlive other changes")

	c.update(func(s *config.Router) { s.Auth = htpasswd(t, "ann", "new") })
	assert.Equal(t, http.StatusUnauthorized, c.as("ann", "old", "/v2/").StatusCode)
	assert.Equal(t, http.StatusOK, c.as("ann", "new", "/v2/").StatusCode)

	c.update(func(s *config.Router) { s.Auth = config.ClientAuth{} })
	assert.Equal(t, http.StatusOK, c.as("ann", "old", "/v2/").StatusCode)
}

func TestBrokenAuthChangesNothing(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "right")
	c.start()
	good := c.settings
	for name, broken := range map[string]config.ClientAuth{
		"half a line":   {Type: config.AuthHtpasswd, Realm: "r", Htpasswd: "ann$2y$05$secretpart"},
		"unknown kind":  {Type: "kerberos"},
		"missing token": {Type: config.AuthToken},
	} {
		c.update(func(s *config.Router) { s.Auth = broken; s.Routes = nil })
		assert.Contains(t, c.log.String(), "the old ones stay in force", name)
		assert.Equal(t, http.StatusOK, c.as("ann", "right", "/v2/").StatusCode, name)
		assert.Equal(t, http.StatusUnauthorized, c.as("ann", "wrong", "/v2/").StatusCode, name)
		c.settings = good
	}
	assert.NotContains(t, c.log.String(), "secretpart")
	assert.Contains(t, c.log.String(), "user:hash")
}

func TestAuthChangesUnderLoad(t *testing.T) {
	c := newCache(t)
	settings := []config.ClientAuth{htpasswd(t, "ann", "right"), htpasswd(t, "ann", "right", "bob", "b")}
	c.settings.Auth = settings[0]
	c.start()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.Equal(t, http.StatusOK, c.as("ann", "right", "/v2/").StatusCode)
					assert.Equal(t, http.StatusUnauthorized, c.as("ann", "wrong", "/v2/").StatusCode)
				}
			}
		})
	}
	for i := range 8 {
		c.update(func(s *config.Router) { s.Auth = settings[(i+1)%2] })
	}
	close(stop)
	clients.Wait()
	require.NoError(t, c.stop())
	assert.Empty(t, openSnapshots(t), "each copy is closed when it is no longer used")
}
