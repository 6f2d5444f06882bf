package registryworker

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/app"
	"registrycache/registryworker/workertest"
	"registrycache/status"
)

func TestPullAndPullAgainWithoutUpstream(t *testing.T) {
	up := fakeRegistry(t)
	d := pushImage(t, up, "podman/hello:latest")
	dir := t.TempDir()
	w := startWorker(t, dir, up.URL)
	require.NoError(t, w.pull("quay.io/podman/hello:latest"))
	w.stop() // ends only when the fills have

	w = startWorker(t, dir, up.URL)
	require.NoError(t, w.pull("quay.io/podman/hello:latest"))
	up.Close()
	require.NoError(t, w.pull("quay.io/podman/hello:latest"))
	require.NoError(t, w.pull("quay.io/podman/hello@"+d.String()))
	w.stop()

	w = startWorker(t, dir, up.URL)
	require.NoError(t, w.pull("quay.io/podman/hello:latest"), "after a restart with the upstream still down")
	a := w.get("/v2/quay.io/podman/hello/manifests/latest")
	assert.Equal(t, accesslog.Stale, a.cache())
	assert.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
	assert.Equal(t, `"`+d.String()+`"`, a.Header.Get("ETag"))
	require.Error(t, w.pull("quay.io/podman/other:latest"))
}

func TestAcceptDoesNotMatter(t *testing.T) {
	up := fakeRegistry(t)
	idx, err := random.Index(1024, 1, 2)
	require.NoError(t, err)
	push(t, up, "org/multi:1", func(r name.Reference) error { return remote.WriteIndex(r, idx) })
	w := startWorker(t, t.TempDir(), up.URL)
	d, err := idx.Digest()
	require.NoError(t, err)
	raw, err := idx.RawManifest()
	require.NoError(t, err)
	for _, accept := range []string{v1.MediaTypeImageManifest, "application/vnd.docker.distribution.manifest.v2+json", "text/html", ""} {
		for _, ref := range []string{"1", d.String()} {
			a := w.get("/v2/quay.io/org/multi/manifests/"+ref, "Accept", accept)
			require.Equal(t, 200, a.StatusCode, a.body)
			assert.Equal(t, string(types.OCIImageIndex), a.Header.Get("Content-Type"))
			assert.Equal(t, string(raw), a.body)
			assert.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
		}
	}
	a := w.do(http.MethodHead, "/v2/quay.io/org/multi/manifests/1")
	assert.Equal(t, 200, a.StatusCode)
	assert.Equal(t, int64(len(raw)), a.ContentLength)
	assert.Empty(t, a.body)
	a = w.get("/v2/quay.io/org/multi/manifests/1", "If-None-Match", `"`+d.String()+`"`)
	assert.Equal(t, http.StatusNotModified, a.StatusCode)
	assert.Equal(t, accesslog.Revalidated, a.cache())
}

func TestBlobsAndRanges(t *testing.T) {
	up := fakeRegistry(t)
	pushImage(t, up, "podman/hello:latest")
	w := startWorker(t, t.TempDir(), up.URL)
	var m v1.Manifest
	require.NoError(t, json.Unmarshal([]byte(w.get("/v2/quay.io/podman/hello/manifests/latest").body), &m))
	layer := m.Layers[0]
	path := "/v2/quay.io/podman/hello/blobs/" + layer.Digest.String()

	head := w.do(http.MethodHead, path)
	assert.Equal(t, 200, head.StatusCode)
	assert.Equal(t, layer.Size, head.ContentLength)
	_, err := w.store.StatBlob(layer.Digest)
	require.ErrorIs(t, err, os.ErrNotExist, "HEAD downloads nothing")

	missing := w.get("/v2/quay.io/podman/hello/blobs/" + digest.FromString("none").String())
	assert.Equal(t, 404, missing.StatusCode)
	assert.Contains(t, missing.body, "BLOB_UNKNOWN")
	assert.Equal(t, accesslog.Failed, missing.cache())

	part := w.get(path, "Range", "bytes=10-19")
	assert.Equal(t, http.StatusPartialContent, part.StatusCode)
	whole := w.get(path)
	assert.Equal(t, layer.Digest, digest.FromString(whole.body))
	assert.Equal(t, whole.body[10:20], part.body)
	require.Eventually(t, func() bool { _, err := w.store.StatBlob(layer.Digest); return err == nil }, 10*time.Second, time.Millisecond)
	up.Close()
	again := w.get(path)
	assert.Equal(t, accesslog.Hit, again.cache())
	assert.Equal(t, whole.body, again.body)

	refused := w.get(path, "X-Accel-Refused", "1", "Range", "bytes=10-19")
	assert.Equal(t, http.StatusPartialContent, refused.StatusCode)
	assert.Equal(t, part.body, refused.body)

}

func TestTagsCatalogAndReferrers(t *testing.T) {
	kept := fakeRegistry(t)
	for _, tag := range []string{"v1", "v2", "v3"} {
		pushImage(t, kept, "org/app:"+tag)
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The fake does not say that there are more pages.
		if r.URL.Query().Get("n") == "2" && r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", "<"+r.URL.Path+`?n=2&last=v2>; rel="next"`)
		}
		kept.Config.Handler.ServeHTTP(w, r)
	}))
	defer up.Close()
	w := startWorker(t, t.TempDir(), up.URL)
	a := w.get("/v2/quay.io/org/app/tags/list")
	assert.JSONEq(t, `{"name":"quay.io/org/app","tags":["v1","v2","v3"]}`, a.body)
	assert.Empty(t, a.Header.Get("Link"))
	a = w.get("/v2/quay.io/org/app/tags/list?n=2")
	assert.JSONEq(t, `{"name":"quay.io/org/app","tags":["v1","v2"]}`, a.body)
	assert.Equal(t, `</v2/quay.io/org/app/tags/list?last=v2&n=2>; rel="next"`, a.Header.Get("Link"))
	a = w.get("/v2/quay.io/org/app/tags/list?last=v2&n=2")
	assert.JSONEq(t, `{"name":"quay.io/org/app","tags":["v3"]}`, a.body)
	assert.Empty(t, a.Header.Get("Link"))
	assert.Equal(t, 400, w.get("/v2/quay.io/org/app/tags/list?n=x").StatusCode)

	assert.JSONEq(t, `{"repositories":[]}`, w.get("/v2/_catalog").body)
	d := w.get("/v2/quay.io/org/app/manifests/v1").Header.Get("Docker-Content-Digest")
	for _, other := range []string{"docker.io/library/alpine", "quay.io.example/x", "zzz.io/x"} {
		payload := []byte(`{"manifests":[]}`)
		require.NoError(t, w.store.PutManifest(other, digest.FromBytes(payload), v1.MediaTypeImageIndex, payload))
	}
	assert.JSONEq(t, `{"repositories":["quay.io/org/app"]}`, w.get("/v2/_catalog").body)
	assert.JSONEq(t, `{"repositories":["quay.io/org/app"]}`, w.get("/v2/_catalog?n=1").body)

	a = w.get("/v2/quay.io/org/app/referrers/" + d)
	require.Equal(t, 200, a.StatusCode, a.body)
	assert.Equal(t, v1.MediaTypeImageIndex, a.Header.Get("Content-Type"))

	base := w.get("/v2/")
	assert.Equal(t, "{}", base.body)
	assert.Equal(t, accesslog.Local, base.cache())
	assert.Equal(t, "registry/2.0", base.Header.Get("Docker-Distribution-API-Version"))
}

func TestUpstreamErrors(t *testing.T) {
	for _, c := range []struct {
		status         int
		header, body   string
		want           int
		code, text, ra string
	}{
		{status: 404, body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such thing"}]}`, want: 404, code: "MANIFEST_UNKNOWN", text: "HTTP 404"},
		{status: 401, body: `{}`, want: 403, code: "DENIED", text: "unauthorized"},
		{status: 403, body: `{}`, want: 403, code: "DENIED", text: "denied"},
		{status: 429, header: "7", body: `{}`, want: 429, code: "TOOMANYREQUESTS", text: "rate limited", ra: "7"},
		{status: 503, body: `busy`, want: 503, code: "UNAVAILABLE", text: "HTTP 503"},
		{status: 500, body: `oops`, want: 503, code: "UNAVAILABLE", text: "HTTP 500"},
	} {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		w := startWorker(t, t.TempDir(), up.URL)
		for path, code := range map[string]string{
			"/v2/quay.io/org/app/manifests/latest":                             "MANIFEST_UNKNOWN",
			"/v2/quay.io/org/app/manifests/" + digest.FromString("x").String(): "MANIFEST_UNKNOWN",
			"/v2/quay.io/org/app/tags/list":                                    "NAME_UNKNOWN",
			"/v2/quay.io/org/app/referrers/" + digest.FromString("x").String(): "MANIFEST_UNKNOWN",
		} {
			if c.status != 404 {
				code = c.code
			}
			a := w.get(path)
			assert.Equal(t, c.want, a.StatusCode, "%d %s: %s", c.status, path, a.body)
			assert.Contains(t, a.body, `"code":"`+code+`"`, path)
			assert.Contains(t, a.body, "quay.io", path)
			assert.Equal(t, c.ra, a.Header.Get("Retry-After"), path)
			assert.Equal(t, accesslog.Failed, a.cache(), path)
			assert.Equal(t, "no-store", a.Header.Get("Cache-Control"), path)
			assert.Empty(t, a.Header.Get("WWW-Authenticate"))
			var one any
			require.NoError(t, json.Unmarshal([]byte(a.body), &one), "one JSON value: %s", a.body)
		}
		a := w.get("/v2/quay.io/org/app/manifests/latest")
		assert.Contains(t, a.body, c.text)
		w.stop()
		up.Close()
	}
}

func TestBadRequests(t *testing.T) {
	w := startWorker(t, t.TempDir(), "http://127.0.0.1:1")
	for _, c := range []struct {
		method, path string
		want         int
		code         string
	}{
		{"GET", "/v2/quay.io/org/app/manifests/sha256:abc", 400, "DIGEST_INVALID"},
		{"GET", "/v2/quay.io/org/app/blobs/sha256:" + strings.Repeat("z", 64), 400, "DIGEST_INVALID"},
		{"GET", "/v2/quay.io/Org/app/manifests/latest", 400, "NAME_INVALID"},
		{"GET", "/v2/quay.io/org//app/manifests/latest", 400, "NAME_INVALID"},
		{"GET", "/v2/quay.io/org/../app/manifests/latest", 400, "NAME_INVALID"},
		{"GET", "/v2/quay.io/org%2fapp/manifests/.x", 400, "TAG_INVALID"},
		{"GET", "/v2/quay.io/" + strings.Repeat("a", 10_000) + "/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/docker.io/org/app/tags/list", 404, "NAME_UNKNOWN"},
		{"GET", "/", 404, "NAME_UNKNOWN"},
		{"PUT", "/v2/quay.io/org/app/manifests/latest", 405, "UNSUPPORTED"},
		{"POST", "/v2/quay.io/org/app/blobs/uploads/", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/quay.io/org/app/manifests/latest", 405, "UNSUPPORTED"},
	} {
		a := w.do(c.method, c.path)
		assert.Equal(t, c.want, a.StatusCode, "%s %.80s: %s", c.method, c.path, a.body)
		assert.Contains(t, a.body, `"code":"`+c.code+`"`)
		assert.NotEmpty(t, a.cache())
	}
}

func TestSeveralWorkersInOneProcess(t *testing.T) {
	dir := t.TempDir()
	var workers []*worker
	for _, host := range []string{"quay.io", "ghcr.io"} {
		up := fakeRegistry(t)
		pushImage(t, up, "same/name:latest")
		workers = append(workers, startWorker(t, dir, up.URL, func(s *config.Worker) {
			s.Upstream.Name, s.Upstream.Path = host, host
		}))
	}
	require.NoError(t, workers[0].pull("quay.io/same/name:latest"))
	require.NoError(t, workers[1].pull("ghcr.io/same/name:latest"))
	a := workers[0].get("/v2/quay.io/same/name/manifests/latest")
	b := workers[1].get("/v2/ghcr.io/same/name/manifests/latest")
	assert.NotEqual(t, a.Header.Get("Docker-Content-Digest"), b.Header.Get("Docker-Content-Digest"))

	// What one upstream brought, the other does not give away.
	path := "/manifests/" + a.Header.Get("Docker-Content-Digest")
	assert.Equal(t, 404, workers[1].get("/v2/ghcr.io/same/name"+path).StatusCode)
	var m v1.Manifest
	require.NoError(t, json.Unmarshal([]byte(a.body), &m))
	blob := "/blobs/" + m.Layers[0].Digest.String()
	assert.Equal(t, 404, workers[1].get("/v2/ghcr.io/same/name"+blob).StatusCode)
	assert.Equal(t, 200, workers[0].get("/v2/quay.io/same/name"+blob).StatusCode)
}

func TestRequestsInFlightAreFinished(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	payload := []byte(`{"schemaVersion":2,"manifests":[]}`)
	d := digest.FromBytes(payload)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
		_, _ = w.Write(payload)
	}))
	defer up.Close()
	w := startWorker(t, t.TempDir(), up.URL)
	got := make(chan answer)
	go func() { got <- w.get("/v2/quay.io/org/app/manifests/" + d.String()) }()
	<-arrived
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	require.Eventually(t, func() bool { // no new connection is taken
		resp, err := w.client.Get("http://worker/v2/")
		if err != nil {
			return true
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return false
	}, 10*time.Second, time.Millisecond)
	close(release)
	a := <-got
	assert.Equal(t, 200, a.StatusCode)
	assert.Equal(t, string(payload), a.body)
	<-stopped
}

func TestDistributionsLogIsQuiet(t *testing.T) {
	up := fakeRegistry(t)
	pushImage(t, up, "podman/hello:latest")
	for _, level := range []string{"info", "debug"} {
		w := startWorker(t, t.TempDir(), up.URL, func(s *config.Worker) { s.LogLevel = level })
		require.NoError(t, w.pull("quay.io/podman/hello:latest"))
		require.Equal(t, 404, w.get("/v2/quay.io/podman/hello/manifests/none").StatusCode)
		w.stop()
		lines := w.log.String()
		if level == "info" {
			assert.NotContains(t, lines, "distribution", "an ordinary day is silent")
		} else {
			assert.Contains(t, lines, "response completed with error")
			assert.NotContains(t, lines, `"level":"error"`)
		}
	}
}

func TestRunReportsWhatCannotWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, s := range map[string]config.Worker{
		"store":    {Upstream: config.Upstream{Name: "q", Path: "q", URL: "http://q"}, StoreDir: file},
		"upstream": {Upstream: config.Upstream{Name: "q", Path: "q", URL: "::"}, StoreDir: t.TempDir()},
	} {
		ln := workertest.Listen(t)
		err := Run(t.Context(), s, ln, zerolog.Nop(), prometheus.NewRegistry(),
			func(func() string) { t.Error("ready") }, func(func() status.Part) {})
		require.Error(t, err, name)
		require.NoError(t, ln.Close())
	}
	_, err := app.New(t.Context(), &configuration.Configuration{Storage: configuration.Storage{"nowhere": nil}})
	require.ErrorContains(t, err, "distribution's registry app")
}
