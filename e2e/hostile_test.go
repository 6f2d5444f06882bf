package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// raw sends bytes as they are and reads one answer.
func raw(t *testing.T, a *harness.Appliance, request string) harness.Answer {
	t.Helper()
	conn, err := net.Dial("tcp", a.Addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(harness.Patience)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "%q", request[:min(len(request), 200)])
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return harness.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
}

// Paths are sent as they are here; clients would clean them.
func TestMalformedPaths(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	a := harness.Cache(t, u)
	outside := filepath.Join(a.Dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("outside"), 0o600))
	zeros := strings.Repeat("0", 64)
	for path, code := range map[string]string{
		"/v2/quay.io/../../../outside/manifests/1":                          "NAME_INVALID",
		"/v2/quay.io/podman/../podman/hello/manifests/latest":               "NAME_INVALID",
		"/v2/quay.io/podman/%2e%2e/hello/manifests/latest":                  "NAME_INVALID",
		"/v2/quay.io/podman/./hello/manifests/latest":                       "NAME_INVALID",
		"/v2/quay.io/podman%2fhello/manifests/latest":                       "NAME_INVALID",
		"/v2/quay.io%2fpodman/hello/manifests/latest":                       "NAME_INVALID",
		"/v2/quay.io/podman//hello/manifests/latest":                        "NAME_INVALID",
		"/v2//quay.io/podman/hello/manifests/latest":                        "NAME_INVALID",
		"/v2/quay.io//manifests/latest":                                     "NAME_INVALID",
		"/v2/quay.io/Podman/hello/manifests/latest":                         "NAME_INVALID",
		"/v2/QUAY.IO/podman/hello/manifests/latest":                         "NAME_INVALID",
		"/v2/quay.io/podman/hel lo/manifests/latest":                        "",
		"/v2/quay.io/podman/hel%20lo/manifests/latest":                      "NAME_INVALID",
		"/v2/quay.io/podman/hel%00lo/manifests/latest":                      "NAME_INVALID",
		"/v2/quay.io/podman/hel%zzlo/manifests/latest":                      "",
		"/v2/quay.io/podman/_manifests/manifests/latest":                    "NAME_INVALID",
		"/v2/quay.io/-podman/hello/manifests/latest":                        "NAME_INVALID",
		"/v2/quay.io/" + strings.Repeat("a", 10_000) + "/manifests/latest":  "NAME_INVALID",
		"/v2/quay.io/" + strings.Repeat("a/", 5_000) + "b/manifests/latest": "NAME_INVALID",
		"/v2/quay.io/podman/hello/manifests/-tag":                           "TAG_INVALID",
		"/v2/quay.io/podman/hello/manifests/" + strings.Repeat("t", 200):    "TAG_INVALID",
		"/v2/quay.io/podman/hello/manifests/sha256:xyz":                     "DIGEST_INVALID",
		"/v2/quay.io/podman/hello/blobs/latest":                             "DIGEST_INVALID",
		"/v2/quay.io/podman/hello/blobs/sha256:" + zeros[1:]:                "DIGEST_INVALID",
		"/v2/quay.io/podman/hello/blobs/sha256:" + strings.Repeat("A", 64):  "DIGEST_INVALID",
		"/v2/quay.io/podman/hello/blobs/md5:" + zeros[:32]:                  "DIGEST_INVALID",
		"/v2/quay.io/podman/hello/blobs/sha256:..%2f..%2f" + zeros:          "",
		"/v2/quay.io/podman/hello/blobs/sha256:../../../../outside":         "",
	} {
		answer := raw(t, a, "GET "+path+" HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
		require.Equal(t, http.StatusBadRequest, answer.Status, "%.100s: %s", path, answer.Body)
		require.NotContains(t, string(answer.Body), "outside\n")
		require.Less(t, len(answer.Body), 2000, "an error repeats no more of the request than is of use")
		if code != "" {
			answer.Error(t, code)
		}
	}
	require.Zero(t, u.Count("", "/v2/."), "the upstream hears nothing of it")
	entries, err := filepath.Glob(filepath.Join(a.Store(), "docker/registry/v2/repositories/*"))
	require.NoError(t, err)
	require.Empty(t, entries, "and nothing is made on disk")
}

// Header fields that mean something between the router and its workers mean
// nothing when they come from outside.
func TestHeaderSmuggling(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img, other := harness.Image(t, 3000), harness.Image(t, 4000)
	u.Push(t, "podman/hello:latest", img)
	u.Push(t, "secret/app:latest", other)
	secretLayer, secretContent := harness.Layer(t, other, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	c.Get("/v2/quay.io/secret/app/blobs/" + secretLayer)
	for _, field := range [][2]string{
		{"X-Accel-Redirect", secretLayer}, {"X-Accel-Redirect", "/etc/passwd"},
		{"X-Forwarded-For", "10.9.8.7"}, {"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-Proto", "https"},
		{"X-Forwarded-Prefix", "/evil"}, {"X-Real-Ip", "10.9.8.7"}, {"Forwarded", "for=10.9.8.7;host=evil.example"},
		{"X-Original-Url", "/v2/quay.io/secret/app/manifests/latest"}, {"X-Rewrite-Url", "/v2/_catalog"},
		{"X-Http-Method-Override", "DELETE"}, {"Cache-Status", "forged; hit"}, {"Host", "evil.example"},
		{"Connection", "X-Accel-Redirect"}, {"Docker-Content-Digest", secretLayer},
	} {
		answer := c.With(field[0], field[1]).Get(manifestPath)
		require.Equal(t, harness.Manifest(t, img), answer.Body, "%s", field)
		for name, values := range answer.Header {
			require.NotContains(t, strings.Join(values, " "), "evil", "%s: %s", field, name)
			require.NotContains(t, strings.Join(values, " "), "forged", "%s: %s", field, name)
		}
		page := c.With(field[0], field[1]).Get("/v2/quay.io/podman/hello/tags/list?n=1")
		require.NotContains(t, page.Header.Get("Link"), "evil")
	}
	for _, r := range u.Requests("", "") {
		for name := range r.Header {
			require.False(t, strings.HasPrefix(name, "X-") || name == "Forwarded", "%s went upstream", name)
		}
	}
	logged, err := os.ReadFile(a.AccessLog())
	require.NoError(t, err)
	require.NotContains(t, string(logged), "10.9.8.7", "the address in the log is the connection's")

	// An upstream can't make the router send files either.
	for _, field := range [][2]string{{"X-Accel-Redirect", secretLayer}, {"Cache-Status", "forged"}, {"Set-Cookie", "a=b"}} {
		in := u.Inject(http.MethodGet, "/blobs/", harness.AddHeader(field[0], field[1]))
		layer, content := harness.Layer(t, img, 0)
		answer := c.Get("/v2/quay.io/podman/hello/blobs/" + layer)
		require.Equal(t, content, answer.Body)
		require.NotEqual(t, secretContent, answer.Body)
		require.Empty(t, answer.Header.Get("Set-Cookie"))
		require.NotContains(t, answer.Header.Get("Cache-Status"), "forged")
		in.Remove()
	}
}

// Requests whose end proxies could see differently are refused.
func TestRequestSmuggling(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	const smuggled = "GET /v2/_catalog HTTP/1.1\r\nHost: cache\r\n\r\n"
	for name, fields := range map[string]string{
		"two lengths":            "Content-Length: 5\r\nContent-Length: 44\r\n",
		"negative length":        "Content-Length: -1\r\n",
		"length with a sign":     "Content-Length: +5\r\n",
		"unknown coding":         "Transfer-Encoding: chunked, identity\r\n",
		"blank before the colon": "Content-Length : 5\r\n",
		"two hosts":              "Host: evil\r\n",
		"folded line":            " folded: line\r\n",
	} {
		answer := raw(t, a, "GET /v2/ HTTP/1.1\r\nHost: cache\r\n"+fields+"\r\n"+smuggled)
		require.GreaterOrEqual(t, answer.Status, 400, name)
		require.Less(t, answer.Status, 502, name)
	}
	// A header without end is cut off; the answer may be lost on the way.
	large, err := a.HTTP(t).With("X-Large", strings.Repeat("a", 4<<20)).Do(http.MethodGet, "/v2/")
	require.True(t, err != nil || large.Status == http.StatusRequestHeaderFieldsTooLarge, "%d", large.Status)
}

// A client that sends its header a byte at a time is cut off, and nobody else
// waits for it.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	a := harness.Cache(t, u)
	var slow []net.Conn
	for i := range 200 {
		conn, err := net.Dial("tcp", a.Addr)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "GET /v2/ HTTP/1.1\r\nHost: cache\r\nX-%d: ", i)
		require.NoError(t, err)
		slow = append(slow, conn)
	}
	a.HTTP(t).Get(manifestPath)
	harness.Podman(t).Pull(a.Addr + "/quay.io/podman/hello:latest")

	// Trickling on does not help: the whole header has a limit.
	deadline := time.Now().Add(2 * harness.Patience)
	buffer := make([]byte, 1000)
	for {
		require.True(t, time.Now().Before(deadline), "the slow connection is still open")
		_, _ = slow[0].Write([]byte("a"))
		require.NoError(t, slow[0].SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		if _, err := slow[0].Read(buffer); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
}
