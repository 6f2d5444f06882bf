package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
	"registrycache/logger/accesslog"
)

// records waits until the access log has n lines and reads them.
func records(t *testing.T, a *harness.Appliance, n int) []accesslog.Record {
	t.Helper()
	var lines []string
	harness.Eventually(t, func() bool {
		raw, _ := os.ReadFile(a.AccessLog())
		lines = strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
		return len(lines) >= n && strings.HasSuffix(string(raw), "\n")
	}, "%d lines in %s", n, a.AccessLog())
	require.Len(t, lines, n)
	var all []accesslog.Record
	for _, line := range lines {
		var r accesslog.Record
		require.NoError(t, json.Unmarshal([]byte(line), &r), "%s", line)
		all = append(all, r)
	}
	return all
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	digest, manifest := harness.Digest(t, img), harness.Manifest(t, img)
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "secret")
	start := time.Now()
	c := a.HTTP(t).With("User-Agent", "podman/9.9 \"quoted\"\nforged").As("puller", "secret")
	_, err := c.Do(http.MethodGet, "/v2/")
	require.Error(t, err, "a client can't even send a line break")
	c = a.HTTP(t).With("User-Agent", `podman/9.9 "quoted" é`).As("puller", "secret")
	blob := "/v2/quay.io/podman/hello/blobs/" + layer

	c.Get("/v2/")
	c.Get(manifestPath)
	c.Get(manifestPath)
	c.Get(blob)
	a.WaitStored(t, layer)
	c.Get("/v2/podman/hello/blobs/" + layer + "?ns=quay.io")
	c.With("Range", "bytes=0-9").Must(http.MethodGet, blob)
	c.Must(http.MethodHead, blob)
	c.Must(http.MethodGet, "/v2/quay.io/podman/none/manifests/1")
	c.Must(http.MethodGet, "/v2/quay.io/podman/hello/tags/list?n=1")
	c.Must(http.MethodDelete, manifestPath)
	a.HTTP(t).Must(http.MethodGet, manifestPath)
	c.Must(http.MethodGet, "/v2/quay.io/Podman/hello/manifests/1")

	got := records(t, a, 12)
	type expected struct {
		method, path, kind, reference, digest string
		status                                int
		bytes                                 int64
		cache                                 accesslog.CacheStatus
	}
	repoPath := "/v2/quay.io/podman/hello/"
	for i, want := range []expected{
		{"GET", "/v2/", "", "", "", 200, -1, accesslog.Local},
		{"GET", manifestPath, "manifests", "latest", digest, 200, int64(len(manifest)), accesslog.Miss},
		{"GET", manifestPath, "manifests", "latest", digest, 200, int64(len(manifest)), accesslog.Revalidated},
		{"GET", blob, "blobs", layer, layer, 200, int64(len(content)), accesslog.Miss},
		{"GET", "/v2/podman/hello/blobs/" + layer, "blobs", layer, layer, 200, int64(len(content)), accesslog.Hit},
		{"GET", blob, "blobs", layer, layer, 206, 10, accesslog.Hit},
		{"HEAD", blob, "blobs", layer, layer, 200, 0, accesslog.Hit},
		{"GET", "/v2/quay.io/podman/none/manifests/1", "manifests", "1", "", 404, -1, accesslog.Failed},
		{"GET", repoPath + "tags/list", "tags", "", "", 200, -1, accesslog.Passed},
		{"DELETE", manifestPath, "", "", "", 405, -1, accesslog.Local},
		{"GET", manifestPath, "", "", "", 401, -1, accesslog.Local},
		{"GET", "/v2/quay.io/Podman/hello/manifests/1", "", "", "", 400, -1, accesslog.Local},
	} {
		r := got[i]
		require.Equal(t, want.method, r.Method, "%+v", r)
		require.Equal(t, want.path, r.Path, "%+v", r)
		require.Equal(t, want.status, r.Status, "%+v", r)
		require.Equal(t, want.cache, r.Cache, "%+v", r)
		if want.bytes >= 0 {
			require.Equal(t, want.bytes, r.Bytes, "%+v", r)
		}
		if want.status != 401 && want.status != 400 {
			require.Equal(t, want.kind, r.Kind, "%+v", r)
			require.Equal(t, want.reference, r.Reference, "%+v", r)
		}
		if want.digest != "" {
			require.Equal(t, want.digest, r.Digest, "%+v", r)
		}
		if want.kind != "" {
			require.Equal(t, "quay.io", r.Upstream, "%+v", r)
			require.True(t, strings.HasPrefix(r.Repository, "quay.io/podman/"), "%+v", r)
		}
		require.WithinRange(t, r.Time, start.Add(-time.Second), time.Now().Add(time.Second))
		require.True(t, strings.HasPrefix(r.RemoteAddr, "127.0.0.1"), "%+v", r)
		require.Less(t, r.Duration, harness.Patience.Seconds())
		switch r.Status {
		case 401:
			require.Empty(t, r.User)
		case 405: // refused before it matters who asks
		default:
			require.Equal(t, "puller", r.User, "%+v", r)
			require.Equal(t, `podman/9.9 "quoted" é`, r.UserAgent)
		}
	}
}

// What a client calls itself with a wrong password is no user.
func TestAccessLogOfRefusedUsers(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	a := startHtpasswd(t, u, bcrypt.MinCost, "puller", "secret")
	a.HTTP(t).As("puller", "wrong").Must(http.MethodGet, "/v2/")
	require.Empty(t, records(t, a, 1)[0].User)
}

// A download that the client breaks off is logged with the bytes that went out.
func TestAccessLogOfAbortedDownload(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img := harness.Image(t, 32<<20)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	resp, err := a.HTTP(t).With("Connection", "close").Open(http.MethodGet, "/v2/quay.io/podman/hello/blobs/"+layer)
	require.NoError(t, err)
	_, err = resp.Body.Read(make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	r := records(t, a, 1)[0]
	require.Less(t, r.Bytes, int64(len(content)))
	require.Positive(t, r.Bytes)
}
