package upstream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tagServer lists the tags a to j, at most page at a time.
func tagServer(t *testing.T, page int) *server {
	all := strings.Split("abcdefghij", "")
	return newServer(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		tags := all
		if last := q.Get("last"); last != "" {
			tags = tags[slices.Index(all, last)+1:]
		}
		n := page
		if asked, err := strconv.Atoi(q.Get("n")); err == nil {
			n = min(n, asked)
		}
		if len(tags) > n {
			tags = tags[:n]
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s&n=%d>; rel="next"`, r.URL.Path, tags[n-1], n))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "org/app", "tags": tags})
	})
}

func TestTags(t *testing.T) {
	for name, test := range map[string]struct {
		page, n  int
		last     string
		want     string
		more     bool
		requests int
	}{
		"all in one page":            {100, -1, "", "abcdefghij", false, 1},
		"all in many pages":          {3, -1, "", "abcdefghij", false, 4},
		"all after one":              {100, -1, "f", "ghij", false, 1},
		"one page":                   {100, 3, "", "abc", true, 1},
		"the next":                   {100, 3, "c", "def", true, 1},
		"the last":                   {100, 3, "g", "hij", false, 1},
		"more than there are":        {100, 50, "", "abcdefghij", false, 1},
		"upstream's pages smaller":   {2, 5, "", "abcde", true, 3},
		"and it comes out even":      {2, 10, "", "abcdefghij", false, 5},
		"none":                       {100, 0, "", "", true, 1},
		"after the last":             {100, 5, "j", "", false, 1},
		"a wish that is far too big": {100, 1 << 30, "", "abcdefghij", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := tagServer(t, test.page)
			tags, more, err := newClient(t, s.URL).Tags(t.Context(), "org/app", test.n, test.last)
			require.NoError(t, err)
			assert.NotNil(t, tags)
			assert.Equal(t, test.want, strings.Join(tags, ""))
			assert.Equal(t, test.more, more)
			assert.Len(t, s.lines(), test.requests)
			if n := s.requests()[0].URL.Query().Get("n"); n != "" {
				asked, err := strconv.Atoi(n)
				require.NoError(t, err)
				assert.LessOrEqual(t, asked, maxPageTags)
			}
		})
	}
	t.Run("an upstream without pages", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"tags":["c","a","b","d"]}`) })
		tags, more, err := newClient(t, s.URL).Tags(t.Context(), "org/app", 2, "c")
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, tags)
		assert.True(t, more)
	})
	t.Run("null", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"name":"org/app","tags":null}`) })
		tags, more, err := newClient(t, s.URL).Tags(t.Context(), "org/app", -1, "")
		require.NoError(t, err)
		assert.Equal(t, []string{}, tags)
		assert.False(t, more)
	})
	t.Run("a hostile last", func(t *testing.T) {
		s := tagServer(t, 100)
		_, _, err := newClient(t, s.URL).Tags(t.Context(), "org/app", 5, "a&n=1#x y")
		require.NoError(t, err)
		assert.Equal(t, "a&n=1#x y", s.requests()[0].URL.Query().Get("last"))
	})
}

func TestPagesThatAreRefused(t *testing.T) {
	elsewhere := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"tags":["x"]}`) })
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		kind    Kind
		text    string
	}{
		"not JSON":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>") }, Invalid, "malformed JSON"},
		"not a list":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"tags":7}`) }, Invalid, "malformed JSON"},
		"another host": {linking(elsewhere.URL + "/v2/org/app/tags/list"), Invalid, "at another host"},
		"malformed":    {linking("http://%zz"), Invalid, "malformed Link"},
		"a circle":     {linking("?"), Invalid, "circle"},
		"without an end": {func(w http.ResponseWriter, r *http.Request) {
			last, _ := strconv.Atoi(r.URL.Query().Get("last"))
			linking(fmt.Sprint("?last=", last+1))(w, r)
		}, Invalid, "more than 1000 pages"},
		"a flood": {func(w http.ResponseWriter, _ *http.Request) {
			for range maxTagsSize >> 20 {
				_, _ = w.Write(make([]byte, 1<<20))
			}
			_, _ = w.Write([]byte("x"))
		}, Invalid, "too long"},
		"404": {http.NotFound, NotFound, "HTTP 404"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.handler)
			_, _, err := newClient(t, s.URL).Tags(t.Context(), "org/app", -1, "")
			requireKind(t, test.kind, err)
			assert.ErrorContains(t, err, test.text)
		})
	}
	assert.Empty(t, elsewhere.lines())
}

func linking(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "<"+target+">; rel=next")
		_, _ = fmt.Fprint(w, `{"tags":["x"]}`)
	}
}

func TestReferrers(t *testing.T) {
	index := func(manifests string) string {
		return `{ "schemaVersion":2, "mediaType":"` + v1.MediaTypeImageIndex + `", "manifests":[` + manifests + `]}`
	}
	serve := func(t *testing.T, typ string, pages ...string) *Client {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/v2/org/app/referrers/"+testDigest.String(), r.URL.Path)
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			if page+1 < len(pages) {
				w.Header().Set("Link", fmt.Sprintf(`<?page=%d>; rel=next`, page+1))
			}
			w.Header().Set("Content-Type", typ)
			_, _ = fmt.Fprint(w, pages[page])
		})
		return newClient(t, s.URL)
	}
	t.Run("one page stays as it is", func(t *testing.T) {
		got, err := serve(t, v1.MediaTypeImageIndex, index(`{"digest":"x","odd":1}`)).Referrers(t.Context(), "org/app", testDigest)
		require.NoError(t, err)
		assert.Equal(t, index(`{"digest":"x","odd":1}`), string(got))
	})
	t.Run("pages are merged", func(t *testing.T) {
		got, err := serve(t, v1.MediaTypeImageIndex+"; charset=utf-8", index(`{"digest":"x","odd":1}`), index(""), index(`{"digest":"y"}`)).
			Referrers(t.Context(), "org/app", testDigest)
		require.NoError(t, err)
		assert.JSONEq(t, index(`{"digest":"x","odd":1},{"digest":"y"}`), string(got))
	})
	t.Run("a page for people", func(t *testing.T) {
		_, err := serve(t, "text/html", "<html>").Referrers(t.Context(), "org/app", testDigest)
		requireKind(t, NotFound, err)
		assert.ErrorContains(t, err, "no referrers API")
	})
	t.Run("malformed", func(t *testing.T) {
		_, err := serve(t, v1.MediaTypeImageIndex, "{").Referrers(t.Context(), "org/app", testDigest)
		requireKind(t, Invalid, err)
	})
	t.Run("too large over all pages", func(t *testing.T) {
		big := index(`{"digest":"` + strings.Repeat("x", 3<<20) + `"}`)
		_, err := serve(t, v1.MediaTypeImageIndex, big, big).Referrers(t.Context(), "org/app", testDigest)
		requireKind(t, Invalid, err)
		assert.ErrorContains(t, err, "too long")
	})
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			_, err := newClient(t, s.URL).Referrers(t.Context(), "org/app", testDigest)
			requireKind(t, NotFound, err)
		})
	}
}
