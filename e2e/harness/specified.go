package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"
)

// asSpecified corrects go-containerregistry's registry where it does not
// answer as specifications have it: ranges that end past the end (RFC 9110),
// and the Link of a page of tags (OCI distribution specification).
func asSpecified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			serveTags(w, r, next)
		case r.Header.Get("Range") != "" && strings.Contains(r.URL.Path, "/blobs/"):
			serveRange(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// record asks for the whole, and passes on what is no success.
func record(w http.ResponseWriter, r *http.Request, next http.Handler) ([]byte, bool) {
	whole := r.Clone(r.Context())
	whole.Header.Del("Range")
	whole.URL.RawQuery = ""
	recorded := httptest.NewRecorder()
	next.ServeHTTP(recorded, whole)
	maps.Copy(w.Header(), recorded.Header())
	w.Header().Del("Content-Length")
	if recorded.Code != http.StatusOK {
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	}
	return recorded.Body.Bytes(), recorded.Code == http.StatusOK
}

func serveRange(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if body, ok := record(w, r, next); ok {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func serveTags(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, ok := record(w, r, next)
	if !ok {
		return
	}
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	query := r.URL.Query()
	slices.Sort(list.Tags)
	list.Tags = slices.DeleteFunc(list.Tags, func(tag string) bool { return tag <= query.Get("last") })
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n < len(list.Tags) {
		list.Tags = list.Tags[:n]
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, r.URL.Path, n, list.Tags[n-1]))
	}
	_ = json.NewEncoder(w).Encode(list)
}
