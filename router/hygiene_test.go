package router

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is no request for something in the registry never reaches a worker, and
// is never answered with a redirect.
func TestBadPathsEndAtTheRouter(t *testing.T) {
	c := newCache(t)
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, text("")))
	c.worker("docker.io", counter(&asked, text("")))
	c.start()
	long := strings.Repeat("a", 10_000)
	for path, code := range map[string]errcode.ErrorCode{
		"/v2/quay.io/../../etc/manifests/1":        errcode.ErrorCodeNameInvalid,
		"/v2/../v2/quay.io/a/manifests/1":          errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/%2e%2e/a/manifests/1":         errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/a%2fb/manifests/1":            errcode.ErrorCodeNameInvalid,
		"/v2/quay.io%2Fa/manifests/1":              errcode.ErrorCodeNameInvalid,
		"/v2/quay.io//a/manifests/1":               errcode.ErrorCodeNameInvalid,
		"/v2//a/manifests/1":                       errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/" + long + "/manifests/1":     errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/Podman/manifests/1":           errcode.ErrorCodeNameInvalid,
		"/v2/quay.io/a/manifests/" + long:          errcode.ErrorCodeTagInvalid,
		"/v2/quay.io/a/blobs/sha256:abc":           errcode.ErrorCodeDigestInvalid,
		"/v2/quay.io/a/blobs/latest":               errcode.ErrorCodeDigestInvalid,
		"/v2/quay.io.evil/a/manifests/1":           errcode.ErrorCodeNameUnknown,
		"/v2/quay.ioo/a/manifests/1":               errcode.ErrorCodeNameUnknown,
		"/v2/a/manifests/1?ns=quay.io.evil":        errcode.ErrorCodeNameUnknown,
		"/v2/quay.io/a":                            errcode.ErrorCodeNameUnknown,
		"/v2/_catalog?n=many":                      errcode.ErrorCodePaginationNumberInvalid,
		"/v2/_catalog?n=-1":                        errcode.ErrorCodePaginationNumberInvalid,
		"http://cache/v2/quay.io/Podman/tags/list": errcode.ErrorCodeNameInvalid,
	} {
		response, body := c.raw("GET " + path + " HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
		assert.Equal(t, code.Descriptor().HTTPStatusCode, response.StatusCode, path)
		requireError(t, body, code, "")
		assert.Equal(t, "registry/2.0", response.Header.Get("Docker-Distribution-Api-Version"))
		assert.NotEmpty(t, response.Header.Get("Cache-Status"))
	}
	for _, path := range []string{"//v2/quay.io/a/manifests/1", "/v1/", "/v2x", "/favicon.ico", "/../v2/"} {
		response, body := c.raw("GET " + path + " HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
		assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
		assert.Equal(t, "not found; the registry API is at /v2/\n", body)
		assert.Equal(t, "registry/2.0", response.Header.Get("Docker-Distribution-Api-Version"))
		assert.NotEmpty(t, response.Header.Get("Cache-Status"))
	}
	assert.Zero(t, asked.Load())
	assert.NotContains(t, c.log.String(), "warn", "strangers can't fill the log")
}

func TestPingAndGreeting(t *testing.T) {
	c := newCache(t).start()
	for _, path := range []string{"/v2/", "/v2", "/v2/?ns=unknown.example"} {
		response, body := c.get(path)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Equal(t, "{}", body)
		assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
		assert.Equal(t, "registry/2.0", response.Header.Get("Docker-Distribution-Api-Version"))
	}
	response, body := c.get("/")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Contains(t, body, "podman pull")
	response, body = c.do(c.request(http.MethodHead, "/", nil))
	assert.Equal(t, int64(len(greeting)), response.ContentLength)
	assert.Empty(t, body)
}

func TestWritesAreRefused(t *testing.T) {
	c := newCache(t).start()
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		for _, path := range []string{"/v2/", "/v2/quay.io/a/blobs/uploads/", "/v2/quay.io/a/manifests/1", "/"} {
			response, body := c.raw(method + " " + path + " HTTP/1.1\r\nHost: cache\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
			assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
			assert.Equal(t, "GET, HEAD", response.Header.Get("Allow"))
			requireError(t, body, errcode.ErrorCodeUnsupported, "pull-through cache")
		}
	}
	response, _ := c.raw("OPTIONS * HTTP/1.1\r\nHost: cache\r\n\r\n")
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

// Two readers of one connection that disagree where a request ends is how
// requests are smuggled.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	c := newCache(t)
	var asked atomic.Int64
	c.worker("quay.io", counter(&asked, text("")))
	c.start()
	const smuggled = "GET /v2/quay.io/smuggled/manifests/1 HTTP/1.1\r\nHost: cache\r\n\r\n"
	for name, header := range map[string]string{
		"two lengths":               fmt.Sprintf("Host: cache\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n", len(smuggled)),
		"two lengths in one":        fmt.Sprintf("Host: cache\r\nContent-Length: 0, %d\r\n\r\n", len(smuggled)),
		"negative length":           "Host: cache\r\nContent-Length: -1\r\n\r\n",
		"signed length":             fmt.Sprintf("Host: cache\r\nContent-Length: +%d\r\n\r\n", len(smuggled)),
		"length and chunks":         "Host: cache\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a body":                    fmt.Sprintf("Host: cache\r\nContent-Length: %d\r\n\r\n", len(smuggled)),
		"chunks":                    fmt.Sprintf("Host: cache\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled),
		"two codings":               "Host: cache\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
		"an unknown coding":         "Host: cache\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"no host":                   "\r\n",
		"two hosts":                 "Host: cache\r\nHost: other\r\n\r\n",
		"space before a colon":      "Host: cache\r\nContent-Length : 4\r\n\r\n",
		"header line without colon": "Host: cache\r\nnonsense\r\n\r\n",
		"line folding at the start": " Host: cache\r\n\r\n",
		"NUL in a value":            "Host: cache\r\nAccept: a\x00b\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := c.dial()
			_, err := io.WriteString(conn, "GET /v2/quay.io/a/manifests/1 HTTP/1.1\r\n"+header+smuggled)
			require.NoError(t, err)
			reader := bufio.NewReader(conn)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			assert.Contains(t, []int{http.StatusBadRequest, http.StatusNotImplemented}, response.StatusCode)
			_, err = http.ReadResponse(reader, nil)
			assert.Error(t, err, "nothing after it is read as a request")
		})
	}
	assert.Zero(t, asked.Load())
}

func TestNothingFromOutsidePlaysTheWorker(t *testing.T) {
	c := newCache(t)
	d := c.blob("secret of another repository").String()
	c.worker("quay.io", func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Values("X-Accel-Redirect"))
		assert.Empty(t, r.Header.Values("X-Accel-Refused"))
		w.WriteHeader(http.StatusNotFound)
	})
	c.start()
	for _, name := range []string{"X-Accel-Redirect", "x-accel-redirect", "X_Accel_Redirect", "X-Accel-Refused"} {
		response, body := c.raw("GET /v2/quay.io/a/blobs/" + d + " HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n" + name + ": " + d + "\r\n\r\n")
		assert.Equal(t, http.StatusNotFound, response.StatusCode)
		assert.NotContains(t, body, "secret")
	}
}

func TestSlowHeaderIsCut(t *testing.T) {
	c := newCache(t)
	c.tune.readHeaderTimeout = 20 * time.Millisecond
	c.start()
	conn := c.dial()
	_, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: cache\r\nX-")
	require.NoError(t, err)
	// Some answer or none: the connection ends although the client keeps it open.
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err)
}

func TestIdleConnectionIsClosed(t *testing.T) {
	c := newCache(t)
	c.tune.idleTimeout = 20 * time.Millisecond
	c.start()
	conn := c.dial()
	_, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: cache\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "200 OK")
}

func TestHugeHeaderIsRefused(t *testing.T) {
	c := newCache(t).start()
	conn := c.dial()
	_, _ = io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: cache\r\nX: "+strings.Repeat("x", 80<<10))
	// The server closes with bytes unread, so the answer may get lost.
	answer, err := io.ReadAll(conn)
	if err == nil {
		assert.Contains(t, string(answer), "431 Request Header Fields Too Large")
	} else {
		assert.ErrorIs(t, err, syscall.ECONNRESET, "the server does not wait for the end")
	}
}
