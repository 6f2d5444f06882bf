package pullthrough

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

var (
	sha256Digest = digest.FromString("x")
	sha512Digest = digest.SHA512.FromString("x")
)

func TestParse(t *testing.T) {
	const name = "quay.io/podman/hello"
	for path, want := range map[string]request{
		"/v2/":                             {kind: kindBase},
		"/v2":                              {kind: kindBase},
		"/v2/_catalog":                     {kind: kindCatalog},
		"/v2/" + name + "/tags/list":       {kind: kindTags, name: name},
		"/v2/" + name + "/manifests/v1.0":  {kind: kindManifest, name: name, tag: "v1.0"},
		"/v2/a/manifests/manifests/latest": {kind: kindManifest, name: "a/manifests", tag: "latest"},
		"/v2/a/b/tags/list/manifests/x":    {kind: kindManifest, name: "a/b/tags/list", tag: "x"},
		"/v2/" + name + "/manifests/" + sha256Digest.String(): {kind: kindManifest, name: name, digest: sha256Digest},
		"/v2/" + name + "/manifests/" + sha512Digest.String(): {kind: kindManifest, name: name, digest: sha512Digest},
		"/v2/" + name + "/blobs/" + sha256Digest.String():     {kind: kindBlob, name: name, digest: sha256Digest},
		"/v2/" + name + "/referrers/" + sha256Digest.String(): {kind: kindReferrers, name: name, digest: sha256Digest},
	} {
		got, err := parse(path)
		require.NoError(t, err, path)
		assert.Equal(t, want, got, path)
	}
}

func TestParseRefuses(t *testing.T) {
	const name = "quay.io/podman/hello"
	for path, want := range map[string]errcode.ErrorCode{
		"/":                                     errcode.ErrorCodeNameUnknown,
		"/v1/search":                            errcode.ErrorCodeNameUnknown,
		"/v2/x":                                 errcode.ErrorCodeNameInvalid,
		"/v2/" + name + "/something/else":       errcode.ErrorCodeNameUnknown,
		"/v2/" + name + "/manifests/":           errcode.ErrorCodeTagInvalid,
		"/v2/" + name + "/manifests/.hidden":    errcode.ErrorCodeTagInvalid,
		"/v2/" + name + "/manifests/a b":        errcode.ErrorCodeTagInvalid,
		"/v2/" + name + "/manifests/sha256:abc": errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/latest":         errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/sha256:" + strings.Repeat("g", 64): errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/sha256:" + strings.Repeat("A", 64): errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/sha384:" + strings.Repeat("a", 96): errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/md5:" + strings.Repeat("a", 32):    errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/referrers/latest":                        errcode.ErrorCodeDigestInvalid,
		"/v2/" + name + "/blobs/uploads/":                          errcode.ErrorCodeBlobUploadUnknown,
		"/v2/quay.io/X/manifests/latest":                           errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/../etc/manifests/latest":                      errcode.ErrorCodeNameInvalid,
		"/v2/quay.io//x/manifests/latest":                          errcode.ErrorCodeNameInvalid,
		"/v2//tags/list":                                           errcode.ErrorCodeNameInvalid,
		"/v2/" + strings.Repeat("a/", 5000) + "a/tags/list":        errcode.ErrorCodeNameInvalid,
	} {
		_, err := parse(path)
		e, ok := errors.AsType[errcode.Error](err)
		require.True(t, ok, "%.60s: %v", path, err)
		assert.Equal(t, want, e.Code, "%.60s: %v", path, err)
		assert.Less(t, len(e.Message), 500, "what came in is not repeated at length")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/b/manifests/latest",
		"/v2/a/blobs/" + sha256Digest.String(), "/v2/a/referrers/" + sha512Digest.String(), "/v2/../../x/tags/list",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		q, err := parse(path)
		if err != nil {
			if _, ok := errors.AsType[errcode.Error](err); !ok {
				t.Fatalf("%q: %T is no error of the API", path, err)
			}
			return
		}
		if q.name == "" {
			return
		}
		if _, err := reference.WithName(q.name); err != nil {
			t.Fatalf("%q: name %q: %v", path, q.name, err)
		}
		var again string
		switch q.kind {
		case kindTags:
			again = "/v2/" + q.name + "/tags/list"
		case kindManifest:
			again = "/v2/" + q.name + "/manifests/" + q.tag + q.digest.String()
		case kindBlob:
			again = "/v2/" + q.name + "/blobs/" + q.digest.String()
		case kindReferrers:
			again = "/v2/" + q.name + "/referrers/" + q.digest.String()
		}
		if again != path {
			t.Fatalf("%q was read as %q", path, again)
		}
		if q.kind != kindTags && (q.tag == "") == (q.digest == "") {
			t.Fatalf("%q has both tag and digest, or neither", path)
		}
	})
}

func TestPermitted(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		repo     string
		want     bool
	}{
		{nil, "any/thing", true},
		{[]string{"podman/*"}, "podman/hello", true},
		{[]string{"podman/*"}, "podman/deep/er", true},
		{[]string{"podman/*"}, "podman", false},
		{[]string{"podman/*"}, "podmanx/hello", false},
		{[]string{"podman/hello"}, "podman/hello", true},
		{[]string{"podman/hello"}, "podman/hello2", false},
		{[]string{"*/app"}, "team/app", true},
		{[]string{"*/app"}, "team/x/app", false},
		{[]string{"team-?/*"}, "team-a/x/y", true},
		{[]string{"a", "b/*"}, "b/c", true},
		{[]string{"[", "x"}, "x", true},
	} {
		assert.Equal(t, c.want, permitted(c.patterns, c.repo), "%v %s", c.patterns, c.repo)
	}
}

func TestHandlerRefusesBeforeTheApp(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Settings.Repositories = []string{"podman/*"} })
	h := b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the app was asked") }))
	for _, c := range []struct {
		method, path string
		status       int
		code, text   string
	}{
		{"PUT", "/v2/quay.io/podman/hello/manifests/latest", 405, "UNSUPPORTED", "PUT is not supported"},
		{"POST", "/v2/quay.io/podman/hello/blobs/uploads/", 405, "UNSUPPORTED", "the cache is for pulling"},
		{"DELETE", "/v2/quay.io/podman/hello/manifests/" + sha256Digest.String(), 405, "UNSUPPORTED", ""},
		{"PATCH", "/v2/quay.io/podman/hello/blobs/uploads/x", 405, "UNSUPPORTED", ""},
		{"GET", "/v2/docker.io/library/alpine/manifests/latest", 404, "NAME_UNKNOWN", "begin with \\\"quay.io/\\\""},
		{"GET", "/v2/quay.io.evil/podman/hello/manifests/latest", 404, "NAME_UNKNOWN", ""},
		{"GET", "/v2/quay.io/secret/app/manifests/latest", 403, "DENIED", `\"repositories\"`},
		{"GET", "/v2/quay.io/podman/hello/blobs/sha256:xyz", 400, "DIGEST_INVALID", "is not a digest"},
		{"GET", "/v2/quay.io/podman/hello/referrers/latest", 400, "DIGEST_INVALID", ""},
		{"GET", "/v2/quay.io/podman/HELLO/manifests/latest", 400, "NAME_INVALID", ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		assert.Equal(t, c.status, w.Code, c.path)
		assert.Contains(t, w.Body.String(), `"code":"`+c.code+`"`, c.path)
		assert.Contains(t, w.Body.String(), c.text, c.path)
		assert.Equal(t, accesslog.Local.Header(), w.Header().Get(accesslog.HeaderName))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		if c.status == http.StatusMethodNotAllowed {
			assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		}
	}
}
