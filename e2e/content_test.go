package e2e

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

func TestManifestHeaders(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Cache(t, u)
	digest, manifest := harness.Digest(t, img), harness.Manifest(t, img)
	for _, path := range []string{manifestPath, "/v2/quay.io/podman/hello/manifests/" + digest} {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			answer := a.HTTP(t).Must(method, path)
			require.Equal(t, http.StatusOK, answer.Status)
			require.Equal(t, digest, answer.Header.Get("Docker-Content-Digest"))
			require.Equal(t, strconv.Itoa(len(manifest)), answer.Header.Get("Content-Length"))
			require.Equal(t, "application/vnd.docker.distribution.manifest.v2+json", answer.Header.Get("Content-Type"))
			require.Equal(t, "registry/2.0", answer.Header.Get("Docker-Distribution-Api-Version"))
			if method == http.MethodHead {
				require.Empty(t, answer.Body)
			} else {
				require.Equal(t, manifest, answer.Body)
			}
		}
		etag := a.HTTP(t).Get(path).Header.Get("ETag")
		require.NotEmpty(t, etag)
		require.Equal(t, http.StatusNotModified, a.HTTP(t).With("If-None-Match", etag).Must(http.MethodGet, path).Status)
	}
}

// A HEAD answers from the upstream's HEAD and downloads nothing.
func TestHeadOfColdBlobDownloadsNothing(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	answer := a.HTTP(t).Must(http.MethodHead, "/v2/quay.io/podman/hello/blobs/"+layer)
	require.Equal(t, http.StatusOK, answer.Status)
	require.Equal(t, strconv.Itoa(len(content)), answer.Header.Get("Content-Length"))
	require.Equal(t, layer, answer.Header.Get("Docker-Content-Digest"))
	require.Zero(t, u.Count(http.MethodGet, "/blobs/"))
}

// Ranges work alike for a blob that is here and for one that is not.
func TestRanges(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 300_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	n := len(content)
	path := "/v2/quay.io/podman/hello/blobs/" + layer
	total := "/" + strconv.Itoa(n)
	for name, try := range map[string]struct {
		ask, contentRange string
		want              []byte
	}{
		"middle":             {"bytes=10-19", "bytes 10-19" + total, content[10:20]},
		"from":               {"bytes=1000-", "bytes 1000-" + strconv.Itoa(n-1) + total, content[1000:]},
		"last bytes":         {"bytes=-7", "bytes " + strconv.Itoa(n-7) + "-" + strconv.Itoa(n-1) + total, content[n-7:]},
		"one past the end":   {"bytes=0-" + strconv.Itoa(n), "bytes 0-" + strconv.Itoa(n-1) + total, content},
		"nothing like that":  {"bytes=" + strconv.Itoa(n) + "-", "bytes *" + total, nil},
		"only the last byte": {"bytes=" + strconv.Itoa(n-1) + "-", "bytes " + strconv.Itoa(n-1) + "-" + strconv.Itoa(n-1) + total, content[n-1:]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.Cache(t, u)
			for _, state := range []string{"cold", "warm"} {
				answer := a.HTTP(t).With("Range", try.ask).Must(http.MethodGet, path)
				require.Equal(t, try.contentRange, answer.Header.Get("Content-Range"), state)
				if try.want == nil {
					require.Equal(t, http.StatusRequestedRangeNotSatisfiable, answer.Status, state)
				} else {
					require.Equal(t, http.StatusPartialContent, answer.Status, state)
					require.True(t, bytes.Equal(try.want, answer.Body), state)
				}
				require.True(t, bytes.Equal(content, a.HTTP(t).Get(path).Body), state)
			}
		})
	}
}

// CRI-O asks for several ranges at once with zstd:chunked layers.
func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 300_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	path := "/v2/quay.io/podman/hello/blobs/" + layer
	for _, state := range []string{"cold", "warm"} {
		answer := a.HTTP(t).With("Range", "bytes=0-9,1000-1999,-5").Must(http.MethodGet, path)
		require.Equal(t, http.StatusPartialContent, answer.Status, state)
		kind, params, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		require.NoError(t, err)
		require.Equal(t, "multipart/byteranges", kind)
		parts := multipart.NewReader(bytes.NewReader(answer.Body), params["boundary"])
		for _, want := range [][]byte{content[:10], content[1000:2000], content[len(content)-5:]} {
			part, err := parts.NextPart()
			require.NoError(t, err)
			got, err := io.ReadAll(part)
			require.NoError(t, err)
			require.Equal(t, want, got, state)
		}
		_, err = parts.NextPart()
		require.ErrorIs(t, err, io.EOF)
		a.HTTP(t).Get(path)
	}
}

// This is a cache: nothing can be written, and it says so.
func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Cache(t, u)
	digest := harness.Digest(t, img)
	for _, try := range [][2]string{
		{http.MethodPost, "/v2/quay.io/podman/hello/blobs/uploads/"},
		{http.MethodPost, "/v2/quay.io/podman/hello/blobs/uploads/?mount=" + digest + "&from=quay.io/podman/other"},
		{http.MethodPatch, "/v2/quay.io/podman/hello/blobs/uploads/7a8b"},
		{http.MethodPut, "/v2/quay.io/podman/hello/blobs/uploads/7a8b?digest=" + digest},
		{http.MethodPut, manifestPath},
		{http.MethodDelete, manifestPath},
		{http.MethodDelete, "/v2/quay.io/podman/hello/manifests/" + digest},
		{http.MethodDelete, "/v2/quay.io/podman/hello/blobs/" + digest},
	} {
		answer := a.HTTP(t).Must(try[0], try[1])
		require.Equal(t, http.StatusMethodNotAllowed, answer.Status, "%s", try)
		answer.Error(t, "UNSUPPORTED")
		require.Contains(t, answer.Header.Get("Allow"), "GET", "%s", try)
	}
	out, err := harness.Skopeo(t).Do("delete", "--tls-verify=false", "docker://"+a.Addr+"/quay.io/podman/hello:latest")
	require.Error(t, err, out)
	require.Zero(t, u.Count(http.MethodDelete, "")+u.Count(http.MethodPut, "")+u.Count(http.MethodPost, ""))
}
