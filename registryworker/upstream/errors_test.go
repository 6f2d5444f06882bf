package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"registrycache/config"
)

func TestKindOf(t *testing.T) {
	assert.Zero(t, KindOf(nil))
	assert.Equal(t, Unavailable, KindOf(io.EOF))
	assert.Equal(t, Denied, KindOf(fmt.Errorf("x: %w", &Error{Kind: Denied})))
}

func TestErrorText(t *testing.T) {
	e := &Error{
		Upstream: "docker.io", Op: "resolve library/alpine:latest", Kind: RateLimited, Status: 429,
		Message: "TOOMANYREQUESTS: slow down", RetryAfter: time.Minute, hint: "buy more",
	}
	assert.Equal(t, "docker.io: resolve library/alpine:latest: rate limited (HTTP 429): TOOMANYREQUESTS: slow down; retry after 1m0s; buy more", e.Error())
	e = &Error{Upstream: "quay.io", Op: "get", Kind: Unavailable, Err: fmt.Errorf("bad\nthing: %w", context.Canceled)}
	assert.Equal(t, "quay.io: get: unavailable: bad thing: context canceled", e.Error())
	assert.ErrorIs(t, e, context.Canceled)
}

func TestOneLine(t *testing.T) {
	assert.Equal(t, "a b c", oneLine("a\r\n\tb \x1b\u202e c\x00"))
	assert.Equal(t, "x y", oneLine("x\xff\xfey"))
	long := oneLine(strings.Repeat("é", 10000))
	assert.LessOrEqual(t, len(long), maxText+3)
	assert.True(t, strings.HasSuffix(long, "é..."))
}

// TestStatus holds what each answer means, and that the upstream's words are
// passed on in a form that is safe to print.
func TestStatus(t *testing.T) {
	oci := func(code string) string {
		return `{"errors":[{"code":"` + code + `","message":"so it is","detail":{"a":1}}]}`
	}
	const js = "application/json"
	for name, test := range map[string]struct {
		status  int
		typ     string
		body    string
		kind    Kind
		message string
	}{
		"404":                    {404, js, oci("MANIFEST_UNKNOWN"), NotFound, "MANIFEST_UNKNOWN: so it is"},
		"410":                    {410, js, "", NotFound, ""},
		"400 name unknown":       {400, js, oci("NAME_UNKNOWN"), NotFound, "NAME_UNKNOWN: so it is"},
		"403 blob unknown":       {403, js, oci("BLOB_UNKNOWN"), NotFound, "BLOB_UNKNOWN: so it is"},
		"401":                    {401, js, oci("UNAUTHORIZED"), Unauthorized, "UNAUTHORIZED: so it is"},
		"403":                    {403, js, oci("DENIED"), Denied, "DENIED: so it is"},
		"451":                    {451, "", "", Denied, ""},
		"429":                    {429, js, oci("TOOMANYREQUESTS"), RateLimited, "TOOMANYREQUESTS: so it is"},
		"503 too many":           {503, js, oci("TOOMANYREQUESTS"), RateLimited, "TOOMANYREQUESTS: so it is"},
		"400":                    {400, js, oci("UNSUPPORTED"), Invalid, "UNSUPPORTED: so it is"},
		"408":                    {408, "", "", Unavailable, ""},
		"407":                    {407, "", "", Unavailable, ""},
		"500":                    {500, js, oci("MANIFEST_UNKNOWN"), Unavailable, "MANIFEST_UNKNOWN: so it is"},
		"502 with a page":        {502, "text/html", "<html>sorry</html>", Unavailable, ""},
		"503 plain":              {503, "text/plain; charset=utf-8", "back\r\nsoon\x1b[31m", Unavailable, "back soon [31m"},
		"304":                    {304, "", "", Invalid, ""},
		"redirect to nowhere":    {307, "", "", Invalid, ""},
		"docker hub's own":       {401, js, `{"details":"incorrect username or password"}`, Unauthorized, "incorrect username or password"},
		"message":                {403, js, `{"message":"no","error":{"x":1}}`, Denied, "no"},
		"oauth2":                 {403, js, `{"error":"x","error_description":"no"}`, Denied, "no"},
		"fields of another type": {500, js, `{"message":7,"errors":"no","details":"yes"}`, Unavailable, "yes"},
		"no message":             {500, js, `{"errors":[{"code":"X"},{"message":"y"},{}]}`, Unavailable, "X, y"},
		"echo of the password":   {500, "text/plain", "you sent hunter2 as " + strings.TrimPrefix(basic("me", "hunter2"), "Basic "), Unavailable, "you sent [redacted] as [redacted]"},
		"a flood":                {500, "text/plain", strings.Repeat("x", 1<<20), Unavailable, strings.Repeat("x", maxText) + "..."},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.typ)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			c := newClient(t, s.URL, withCredentials(config.Credential{Username: "me", Password: "hunter2"}))
			_, _, err := c.Manifest(t.Context(), "org/app", testDigest)
			e := requireKind(t, test.kind, err)
			assert.Equal(t, test.message, e.Message)
			if e.Err == nil {
				assert.Equal(t, test.status, e.Status)
			}
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestRetryAfter(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
	e := requireKind(t, RateLimited, err)
	assert.Equal(t, 7*time.Second, e.RetryAfter)
	assert.Contains(t, err.Error(), "retry after 7s; credentials for registry.test in the pull secret may raise the limit")
}

func TestNetworkErrors(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		s := newServer(t, nil)
		s.Close()
		_, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
		requireKind(t, Unavailable, err)
		assert.ErrorContains(t, err, "connection refused; check the network, the address and the proxy settings")
	})
	t.Run("dropped", func(t *testing.T) {
		s := newServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
		requireKind(t, Unavailable, err)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		_, err := newClient(t, s.URL).ResolveManifest(ctx, "org/app", "latest")
		requireKind(t, Unavailable, err)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("plain http on https", func(t *testing.T) {
		s := newServer(t, nil)
		_, err := newClient(t, strings.Replace(s.URL, "http:", "https:", 1)).ResolveManifest(t.Context(), "org/app", "latest")
		requireKind(t, Unavailable, err)
		assert.ErrorContains(t, err, "if it speaks plain http, say so in url for registry.test")
	})
	t.Run("unknown CA", func(t *testing.T) {
		s := newTLSServer(t, nil)

		_, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
		requireKind(t, Unavailable, err)
		assert.ErrorContains(t, err, "set ca for registry.test")
	})
}
