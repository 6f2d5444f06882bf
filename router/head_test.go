package router

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseHead(t *testing.T) {
	hd, ok := parseHead([]byte(podmanRequest))
	require.True(t, ok)
	assert.Equal(t, head{
		method: http.MethodGet, path: "/v2/quay.io/podman/hello/manifests/latest",
		userAgent: "containers/5.36.0 (github.com/containers/image)",
	}, hd)
	hd, ok = parseHead([]byte("HEAD /v2/a/manifests/1?ns=quay.io HTTP/1.1\r\nhost: [::1]:8443\r\nAUTHORIZATION:  Basic YTpi \t\r\n" +
		"Connection: Keep-Alive\r\nX-Forwarded-For: 1.2.3.4\r\nAccept:\r\n\r\n"))
	require.True(t, ok)
	assert.Equal(t, head{method: http.MethodHead, path: "/v2/a/manifests/1", query: "ns=quay.io", authorization: "Basic YTpi"}, hd)
}

const plainLine, plainHost = "GET /v2/a/manifests/1 HTTP/1.1\r\n", "Host: cache\r\n"

// What may mean anything but "all of it, please" is left to net/http.
func TestParseHeadLeavesTheRest(t *testing.T) {
	_, ok := parseHead([]byte(plainLine + plainHost + "\r\n"))
	require.True(t, ok)
	for name, request := range map[string]string{
		"nothing":            "",
		"no end":             plainLine + plainHost,
		"half an end":        plainLine + plainHost + "\r",
		"two requests":       plainLine + plainHost + "\r\n" + plainLine + plainHost + "\r\n",
		"a byte of the next": plainLine + plainHost + "\r\nG",
		"a blank line first": "\r\n" + plainLine + plainHost + "\r\n",
		"bare line feeds":    strings.ReplaceAll(plainLine+plainHost+"\r\n", "\r", ""),
		"one bare line feed": plainLine + "Host: cache\n\r\n",
		"a carriage return":  plainLine + "Host: cache\r\r\n\r\n",
		"another method":     "POST /v2/a/manifests/1 HTTP/1.1\r\n" + plainHost + "\r\n",
		"lower case":         "get /v2/a/manifests/1 HTTP/1.1\r\n" + plainHost + "\r\n",
		"HTTP/1.0":           "GET /v2/a/manifests/1 HTTP/1.0\r\n" + plainHost + "\r\n",
		"no version":         "GET /v2/a/manifests/1\r\n" + plainHost + "\r\n",
		"two spaces":         "GET  /v2/a/manifests/1 HTTP/1.1\r\n" + plainHost + "\r\n",
		"a space in it":      "GET /v2/a/manifests/1 x HTTP/1.1\r\n" + plainHost + "\r\n",
		"an escape":          "GET /v2/a/manifests/%31 HTTP/1.1\r\n" + plainHost + "\r\n",
		"a fragment":         "GET /v2/a/manifests/1#x HTTP/1.1\r\n" + plainHost + "\r\n",
		"another path":       "GET /v1/a/manifests/1 HTTP/1.1\r\n" + plainHost + "\r\n",
		"a whole URL":        "GET http://cache/v2/a/manifests/1 HTTP/1.1\r\n" + plainHost + "\r\n",
		"no host":            plainLine + "\r\n",
		"two hosts":          plainLine + plainHost + plainHost + "\r\n",
		"an empty host":      plainLine + "Host: \r\n\r\n",
		"a strange host":     plainLine + "Host: a/b\r\n\r\n",
		"two credentials":    plainLine + plainHost + "Authorization: a\r\nAuthorization: b\r\n\r\n",
		"two agents":         plainLine + plainHost + "User-Agent: a\r\nUser-Agent: b\r\n\r\n",
		"close":              plainLine + plainHost + "Connection: close\r\n\r\n",
		"upgrade":            plainLine + plainHost + "Connection: keep-alive, upgrade\r\n\r\n",
		"length":             plainLine + plainHost + "Content-Length: 0\r\n\r\n",
		"coding":             plainLine + plainHost + "Transfer-Encoding: chunked\r\n\r\n",
		"range":              plainLine + plainHost + "Range: bytes=0-1\r\n\r\n",
		"a condition":        plainLine + plainHost + "If-None-Match: \"x\"\r\n\r\n",
		"expectation":        plainLine + plainHost + "Expect: 100-continue\r\n\r\n",
		"an unknown field":   plainLine + plainHost + "Unknown: x\r\n\r\n",
		"a name too long":    plainLine + plainHost + strings.Repeat("A", 100) + ": x\r\n\r\n",
		"a blank in a name":  plainLine + plainHost + "Accept : x\r\n\r\n",
		"an empty name":      plainLine + plainHost + ": x\r\n\r\n",
		"a strange name":     plainLine + plainHost + "X-ä: x\r\n\r\n",
		"no colon":           plainLine + plainHost + "Accept\r\n\r\n",
		"line folding":       plainLine + plainHost + "Accept: x\r\n y\r\n\r\n",
		"NUL":                plainLine + plainHost + "Accept: \x00\r\n\r\n",
		"not ASCII":          plainLine + plainHost + "Accept: ä\r\n\r\n",
	} {
		_, ok := parseHead([]byte(request))
		assert.False(t, ok, name)
	}
}

// What is parsed here, net/http parses to the same.
func FuzzParseHead(f *testing.F) {
	f.Add([]byte(podmanRequest))
	f.Add([]byte("HEAD /v2/a/manifests/1?ns=q HTTP/1.1\r\nhost: [::1]:8443\r\nAUTHORIZATION:  Basic YTpi \t\r\nConnection: Keep-Alive\r\nX-a_b: 1\r\nAccept:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, request []byte) {
		hd, ok := parseHead(request)
		if !ok {
			return
		}
		reader := bufio.NewReader(bytes.NewReader(request))
		r, err := http.ReadRequest(reader)
		require.NoError(t, err)
		_, err = reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, r.Method, hd.method)
		require.Equal(t, r.URL.EscapedPath(), hd.path)
		require.Equal(t, r.URL.RawQuery, hd.query)
		require.Equal(t, r.Header.Get("Authorization"), hd.authorization)
		require.Equal(t, r.UserAgent(), hd.userAgent)
		require.Zero(t, r.ContentLength)
		require.Empty(t, r.TransferEncoding)
		require.False(t, r.Close)
		require.NotEmpty(t, r.Host)
		require.False(t, isConditional(r.Header))
		require.Empty(t, r.Header.Get("Expect"))
		require.Equal(t, "HTTP/1.1", r.Proto)
		var s heads
		s.scan(request)
		require.Equal(t, heads{ended: 1, last: '\r'}, s)
	})
}

// Wherever the bytes are cut, heads end where net/http says.
func TestHeadsAreCounted(t *testing.T) {
	for name, tt := range map[string]struct {
		stream  string
		ended   int
		between bool
	}{
		"nothing":              {"", 0, true},
		"a byte":               {"G", 0, false},
		"one":                  {"GET / HTTP/1.1\r\nA: b\r\n\r\n", 1, true},
		"one of line feeds":    {"GET / HTTP/1.1\nA: b\n\n", 1, true},
		"mixed":                {"GET / HTTP/1.1\nA: b\r\n\nGET / HTTP/1.1\r\n\n", 2, true},
		"a line short":         {"GET / HTTP/1.1\r\nA: b\r\n", 0, false},
		"a byte short":         {"GET / HTTP/1.1\r\nA: b\r\n\r", 0, false},
		"and a bit":            {"GET / HTTP/1.1\r\n\r\nGET", 1, false},
		"and an empty line":    {"GET / HTTP/1.1\r\n\r\n\r\n", 1, false},
		"a blank is no end":    {"GET / HTTP/1.1\r\n \r\n", 0, false},
		"two returns no end":   {"GET / HTTP/1.1\r\n\r\r\n", 0, false},
		"a return on its own":  {"GET / HTTP/1.1\r\nA\r\r\n\r\n", 1, true},
		"an empty line before": {"\r\nGET / HTTP/1.1\r\n\r\n", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			for cut := range len(tt.stream) + 1 {
				var s heads
				s.scan([]byte(tt.stream[:cut]))
				s.scan([]byte(tt.stream[cut:]))
				assert.Equal(t, tt.ended, s.ended)
				assert.Equal(t, tt.between, s.between())
			}
		})
	}
}
