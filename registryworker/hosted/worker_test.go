package hosted

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
	"registrycache/status"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestPushAndPull(t *testing.T) {
	w := start(t, t.TempDir())
	pushed := w.push("local/team/app:1")
	got, err := remote.Image(w.ref("local/team/app:1"), w.options()...)
	require.NoError(t, err)
	require.NoError(t, validate.Image(got))
	want, err := pushed.Digest()
	require.NoError(t, err)
	d, err := got.Digest()
	require.NoError(t, err)
	assert.Equal(t, want, d)

	a := w.do("GET", "/v2/local/team/app/manifests/1", nil, "Accept", "text/plain")
	assert.Equal(t, 200, a.StatusCode, "a manifest is what it is, whatever the client accepts")
	assert.Equal(t, want.String(), a.Header.Get("Docker-Content-Digest"))
	assert.Equal(t, "no-cache", a.Header.Get("Cache-Control"))
	assert.Contains(t, a.Header.Get("Content-Type"), "manifest")
	assert.Equal(t, 304, w.do("GET", "/v2/local/team/app/manifests/1", nil, "If-None-Match", a.Header.Get("Etag")).StatusCode)
	head := w.do("HEAD", "/v2/local/team/app/manifests/"+want.String(), nil)
	assert.Equal(t, int64(len(a.body)), head.ContentLength)
	assert.JSONEq(t, `{"name":"local/team/app","tags":["1"]}`, w.do("GET", "/v2/local/team/app/tags/list", nil).body)

	// It is there after a restart.
	w.stop()
	w = start(t, w.dir)
	assert.Equal(t, a.body, w.do("GET", "/v2/local/team/app/manifests/1", nil).body)
}

func TestAStoreThatCannotBeWrittenIsRead(t *testing.T) {
	w := start(t, t.TempDir())
	d := w.upload("local/app", "layer")
	// What can't be locked here can't be pledged either, for root too.
	lock := filepath.Join(images.HostedDir(w.dir), "docker/registry/v2/collecting.lock")
	require.NoError(t, os.Remove(lock))
	require.NoError(t, os.Mkdir(lock, 0o755))
	assert.Equal(t, 200, w.do("HEAD", "/v2/local/app/blobs/"+d.String(), nil).StatusCode)
	a := w.do("DELETE", "/v2/local/app/blobs/"+d.String(), nil)
	assert.Equal(t, 500, a.StatusCode)
	assert.NotContains(t, a.body, w.dir)
}

func TestRefused(t *testing.T) {
	w := start(t, t.TempDir())
	sum := digest.FromString("x").String()
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v2/quay.io/org/app/manifests/1", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/quay.io/org/app/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/localhost/app/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/local/blobs/uploads/", 404, "NAME_UNKNOWN"},
		{"GET", "/elsewhere", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/local/app/manifests/1", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/local/app/blobs/" + sum, 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/local/app/blobs/md5:abc", 400, "DIGEST_INVALID"},
		{"GET", "/v2/local/app/tags/list", 404, "NAME_UNKNOWN"},
		{"PUT", "/v2/local/app/referrers/" + sum, 405, "UNSUPPORTED"},
		{"PUT", "/v2/local/app/blobs/uploads/none?digest=" + digest.SHA512.FromString("x").String(), 400, "DIGEST_INVALID"},
	} {
		a := w.do(c.method, c.path, nil)
		assert.Equal(t, c.status, a.StatusCode, "%s %s: %s", c.method, c.path, a.body)
		assert.Equal(t, c.code, a.code(), "%s %s", c.method, c.path)
	}
}

func FuzzParse(f *testing.F) {
	sum := digest.FromString("x").String()
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/local/a/manifests/1", "/v2/local/a/manifests/" + sum, "/v2/local/a/blobs/" + sum,
		"/v2/local/a/blobs/uploads/", "/v2/local/a/blobs/uploads/u", "/v2/local/a/referrers/" + sum, "/v2/quay.io/a/tags/list",
		"/v2/local/../a/tags/list", "/v2/local/a/blobs/sha512:" + strings.Repeat("a", 64),
	} {
		f.Add(path)
	}
	h := newHandler("local", images.At(f.TempDir()), nil, &collector{}, zerolog.Nop())
	f.Fuzz(func(t *testing.T, path string) {
		q, err := h.parse(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}})
		if err != nil {
			return
		}
		if q.repository != "" {
			require.True(t, strings.HasPrefix(q.repository, "local/"), q.repository)
			require.NotContains(t, q.repository, "..")
		}
		if q.digest != "" {
			require.NoError(t, q.digest.Validate())
		}
		require.NotContains(t, q.tag, "/")
	})
}

func TestRunReportsWhatCannotWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	err := Run(t.Context(), config.HostedWorker{StoreDir: file, Prefix: "local"}, nil, zerolog.Nop(),
		func() { t.Error("ready") }, func(func() status.Part) {})
	require.Error(t, err)
}
