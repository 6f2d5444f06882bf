package statuspage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/status"
)

func TestEveryAnswerHasThePolicy(t *testing.T) {
	p := newPage(told(t))
	p.Close() // ends the stream
	for _, path := range []string{"/", "/status.json", "/status/events", "/status/page.css", "/status/page.js", "/status/icon.svg", "/other"} {
		header := get(t, p, path).Header
		for _, rule := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			assert.Contains(t, header.Get("Content-Security-Policy"), rule, path)
		}
		assert.NotContains(t, header.Get("Content-Security-Policy"), "unsafe", path)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "no-referrer", header.Get("Referrer-Policy"), path)
	}
	assert.Equal(t, "no-store", get(t, p, "/").Header.Get("Cache-Control"))
	assert.Equal(t, "text/html; charset=utf-8", get(t, p, "/").Header.Get("Content-Type"))
}

func TestServes(t *testing.T) {
	for _, path := range []string{"/", "/status.json", "/status/events", "/status/page.css", "/status/page.js", "/status/icon.svg"} {
		assert.True(t, Serves(path), path)
	}
	for _, path := range []string{"", "//", "/status", "/status/", "/status/page.html", "/v2/", "/status.json/", "/%73tatus.json"} {
		assert.False(t, Serves(path), path)
	}
}

func TestWanted(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/html": true, "TEXT/HTML": true, "text/html;q=0": false,
		"text/html;q=0.1": true, "text/htmlx": false, "a;;;,text/html": true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		assert.Equal(t, want, Wanted(r), accept)
	}
}

func FuzzWanted(f *testing.F) {
	f.Add("text/html;q=0.5, */*")
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if Wanted(r) && !strings.Contains(strings.ToLower(accept), "text/html") {
			t.Errorf("%q does not name text/html", accept)
		}
	})
}

func TestFilesAreCachedByTheirContent(t *testing.T) {
	p := newPage(told(t))
	page := get(t, p, Path)
	for _, n := range parse(t, page.Body).all("*") {
		for _, name := range []string{"src", "href"} {
			address, ok := attribute(n, name)
			if !ok || !strings.HasPrefix(address, "/status/") {
				continue
			}
			response := get(t, p, address)
			require.Equal(t, http.StatusOK, response.StatusCode, address)
			assert.Contains(t, response.Header.Get("Cache-Control"), "immutable", address)
			etag := response.Header.Get("ETag")

			path, _, _ := strings.Cut(address, "?")
			assert.Equal(t, "no-cache", get(t, p, path+"?other").Header.Get("Cache-Control"))
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Header.Set("If-None-Match", etag)
			p.ServeHTTP(w, r)
			assert.Equal(t, http.StatusNotModified, w.Code)
			assert.Zero(t, w.Body.Len())
		}
	}
}

func TestJSONIsTheDocument(t *testing.T) {
	response := get(t, newPage(told(t)), jsonPath)
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	var document status.Document
	require.NoError(t, json.NewDecoder(response.Body).Decode(&document))
	assert.Equal(t, "v1.4.0", document.Version)
}

func TestSilentSupervisor(t *testing.T) {
	p := newPage(newSource(func(context.Context) ([]byte, error) { return nil, errors.New("secret path") }))
	for _, path := range []string{Path, jsonPath} {
		response := get(t, p, path)
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		assert.Equal(t, retryAfter, response.Header.Get("Retry-After"))
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Contains(t, string(body), "The supervisor of the cache does not answer.")
		assert.NotContains(t, string(body), "secret path")
	}
	response := get(t, p, Path)
	assert.Equal(t, retryAfter, response.Header.Get("Refresh"))
	shown := parse(t, response.Body)
	assert.Contains(t, shown.text("state"), "no answer")
	assert.Len(t, shown.all("section"), 1, "nothing that is not known")
	body, err := io.ReadAll(get(t, New(""), Path).Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), "was not told where")
}

// What was known is shown with its age, until the supervisor answers again.
func TestOldStateIsShownAsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supervisor := newTeller()
		p := newPage(newSource(supervisor.ask))
		require.Equal(t, http.StatusOK, get(t, p, Path).StatusCode)
		time.Sleep(freshFor)
		supervisor.set(func(s *teller) { s.fault = errors.New("gone") })
		response := get(t, p, Path)
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		shown := parse(t, response.Body)
		assert.Contains(t, shown.text("notice"), "What follows is as of 2026-11-20 12:00:30 UTC.")
		assert.Contains(t, shown.text("state"), "no answer")
		assert.Contains(t, shown.text("upstreams"), "quay.io")
	})
}
