package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/status"
)

// answering is a server whose answers a test changes between requests.
type answering struct {
	*server
	next http.HandlerFunc
}

func newAnswering(t *testing.T) *answering {
	a := &answering{}
	a.server = newServer(t, func(w http.ResponseWriter, r *http.Request) { a.next(w, r) })
	return a
}

func code(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func good(w http.ResponseWriter, r *http.Request) { manifest(w, r, nil) }

func TestStatusBeforeAnything(t *testing.T) {
	assert.Equal(t, status.Upstream{Name: "registry.test", State: status.Untried, Credentials: status.Anonymous},
		newClient(t, "http://127.0.0.1:1").Status())
	c := newClient(t, "http://127.0.0.1:1", withCredentials(config.Credential{Username: "me", Password: "x"}))
	assert.Equal(t, status.Unused, c.Status().Credentials)
}

func TestStatusFollowsTheLastRequest(t *testing.T) {
	a := newAnswering(t)
	c := newClient(t, a.URL)

	before := time.Now()
	a.next = good
	require.NoError(t, resolve(t, c, "org/app"))
	u := c.Status()
	assert.Equal(t, status.Answering, u.State)
	assert.WithinRange(t, u.Answered, before, time.Now())
	assert.Nil(t, u.Failure)

	a.next = code(http.StatusBadGateway)
	failed := resolve(t, c, "org/app")
	require.Error(t, failed)
	f := c.Status()
	assert.Equal(t, status.Failing, f.State)
	assert.Equal(t, u.Answered, f.Answered)
	require.NotNil(t, f.Failure)
	assert.Equal(t, failed.Error(), f.Failure.Text)
	assert.WithinRange(t, f.Failure.Time, u.Answered, time.Now())

	a.next = good
	require.NoError(t, resolve(t, c, "org/app"))
	u = c.Status()
	assert.Equal(t, status.Answering, u.State)
	assert.Equal(t, f.Failure, u.Failure, "the last failure stays known")
	assert.True(t, u.Answered.After(u.Failure.Time))

	a.Close()
	require.Error(t, resolve(t, c, "org/app"))
	assert.Equal(t, status.Failing, c.Status().State)
}

// What is wrong with a request, or with what it asks for, is not wrong with the
// upstream.
func TestStatusOfAnswers(t *testing.T) {
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"found":              {good, status.Answering},
		"not found":          {code(http.StatusNotFound), status.Answering},
		"forbidden":          {code(http.StatusForbidden), status.Answering},
		"bad request":        {code(http.StatusBadRequest), status.Answering},
		"wants a login":      {code(http.StatusUnauthorized), status.Failing},
		"too many requests":  {code(http.StatusTooManyRequests), status.Failing},
		"internal error":     {code(http.StatusInternalServerError), status.Failing},
		"other bytes":        {text(`{"other":"bytes"}`), status.Failing},
		"a page for people":  {text(`<html>`), status.Failing},
		"redirect to nobody": {code(http.StatusFound), status.Failing},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		}, status.Failing},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswering(t)
			a.next = test.answer
			c := newClient(t, a.URL)
			_, _, err := c.Manifest(t.Context(), "org/app", testDigest)
			u := c.Status()
			assert.Equal(t, test.want, u.State, "%v", err)
			if test.want == status.Failing {
				require.Error(t, err)
				require.NotNil(t, u.Failure)
				assert.Equal(t, err.Error(), u.Failure.Text)
			} else {
				assert.Nil(t, u.Failure)
				assert.False(t, u.Answered.IsZero())
			}
		})
	}
}

func TestUpstreamWithoutHeadWorks(t *testing.T) {
	a := newAnswering(t)
	a.next = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		good(w, r)
	}
	c := newClient(t, a.URL)
	require.NoError(t, resolve(t, c, "org/app"))
	assert.Equal(t, status.Answering, c.Status().State)
	assert.Nil(t, c.Status().Failure)
}

func TestCallerWhoLeavesIsNoFailure(t *testing.T) {
	for name, cause := range map[string]error{
		"leaves":           nil,
		"has had too much": fmt.Errorf("%w: no byte for a while", ErrStalled),
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswering(t)
			a.next = func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(blobContent[:10])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			c := newClient(t, a.URL)
			ctx, cancel := context.WithCancelCause(t.Context())
			b, err := c.OpenBlob(ctx, "org/app", blobDigest, 0, -1)
			require.NoError(t, err)
			defer b.Body.Close()
			cancel(cause)
			_, err = io.Copy(io.Discard, b.Body)
			require.Error(t, err)
			u := c.Status()
			if cause == nil {
				assert.Equal(t, status.Answering, u.State)
				assert.Nil(t, u.Failure)
				return
			}
			assert.Equal(t, status.Failing, u.State, "a caller with a limit of its own")
			require.NotNil(t, u.Failure)
			assert.Contains(t, u.Failure.Text, "no byte for a while")
		})
	}
}

func TestStatusOfCredentials(t *testing.T) {
	const right, wrong = "right", "wrong"
	for name, test := range map[string]struct {
		org, host config.Secret
		repos     []string
		want      string
	}{
		"not asked for": {wrong, wrong, nil, status.Unused},
		"accepted":      {right, right, []string{"org/app", "other/app"}, status.Accepted},
		"one accepted":  {right, wrong, []string{"org/app"}, status.Accepted},
		"refused":       {wrong, wrong, []string{"org/app", "other/app"}, status.Refused},
		"one refused":   {wrong, right, []string{"org/app"}, status.PartRefused},
		"either":        {right, wrong, []string{"org/app", "other/app"}, status.PartRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := basicOnly(t, "me", right)
			c := newClient(t, s.URL, withCredentials(
				config.Credential{Scope: "org", Username: "me", Password: test.org}, config.Credential{Username: "me", Password: test.host}))
			var last error
			for _, repo := range test.repos {
				last = resolve(t, c, repo)
			}
			u := c.Status()
			assert.Equal(t, test.want, u.Credentials)
			if last != nil {
				assert.Equal(t, status.Failing, u.State)
				assert.Equal(t, last.Error(), u.Failure.Text)
				assert.NotContains(t, u.Failure.Text, wrong)
			}
		})
	}
}

// A token server that takes the credentials says nothing about a repository.
func TestRefusedRepositoryIsNoFailure(t *testing.T) {
	b := newBearer(t)
	b.issue = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token":"good for nothing"}`) }
	c := newClient(t, b.URL, withCredentials(config.Credential{Username: "me", Password: "x"}))
	requireKind(t, Unauthorized, resolve(t, c, "org/no-such-thing"))
	u := c.Status()
	assert.Equal(t, status.Answering, u.State)
	assert.Equal(t, status.Accepted, u.Credentials)
	assert.Nil(t, u.Failure)

	b.realm = "https://elsewhere.test/token"
	requireKind(t, Unauthorized, resolve(t, c, "org/another"))
	assert.Equal(t, status.Failing, c.Status().State, "nothing can be pulled like this")
}

func TestStatusOfRateLimit(t *testing.T) {
	a := newAnswering(t)
	c := newClient(t, a.URL)
	say := func(limit, remaining string, code int) *status.RateLimit {
		a.next = func(w http.ResponseWriter, r *http.Request) {
			for name, value := range map[string]string{"ratelimit-limit": limit, "ratelimit-remaining": remaining} {
				if value != "" {
					w.Header().Set(name, value)
				}
			}
			if code != http.StatusOK {
				w.WriteHeader(code)
				return
			}
			good(w, r)
		}
		_ = resolve(t, c, "org/app")
		return c.Status().RateLimit
	}
	assert.Nil(t, say("", "", 200))
	before := time.Now()
	first := say("100;w=21600", "76;w=21600", 200)
	require.NotNil(t, first)
	assert.WithinRange(t, first.Time, before, time.Now())
	assert.Equal(t, status.RateLimit{Limit: 100, Remaining: 76, Window: status.Seconds(6 * time.Hour), Time: first.Time}, *first)
	assert.Same(t, first, say("", "", 200), "it is as it was last said")

	last := say("100;w=21600", "0;w=21600", 429)
	assert.EqualValues(t, 0, last.Remaining)
	assert.EqualValues(t, 76, first.Remaining, "what was given out does not change")
	assert.EqualValues(t, 100, say("", "5", 200).Limit)
}
