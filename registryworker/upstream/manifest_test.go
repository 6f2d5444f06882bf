package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

var (
	testContent = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`)
	testDigest  = digest.FromBytes(testContent)
	wrongDigest = digest.FromString("something else")
)

// manifest answers like a registry; edit may change the header.
func manifest(w http.ResponseWriter, r *http.Request, edit func(http.Header)) {
	w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", testDigest.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(testContent)))
	if edit != nil {
		edit(w.Header())
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(testContent)
	}
}

func without(name string) func(http.Header) { return func(h http.Header) { h.Del(name) } }

func with(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }

func TestResolveManifest(t *testing.T) {
	sha512 := digest.SHA512.FromBytes(testContent).String()
	full := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: testDigest, Size: int64(len(testContent))}
	for name, test := range map[string]struct {
		ref   string
		edit  func(http.Header)
		want  v1.Descriptor
		kind  Kind
		asked string
	}{
		"by tag":                        {"latest", nil, full, 0, "HEAD"},
		"by digest":                     {testDigest.String(), nil, full, 0, "HEAD"},
		"no digest, by tag":             {"latest", without("Docker-Content-Digest"), full, 0, "HEAD GET"},
		"malformed digest, by tag":      {"latest", with("Docker-Content-Digest", "sha256:x"), full, 0, "HEAD GET"},
		"no digest, by digest":          {testDigest.String(), without("Docker-Content-Digest"), full, 0, "HEAD"},
		"another digest":                {wrongDigest.String(), nil, v1.Descriptor{}, Invalid, "HEAD"},
		"the same by another algorithm": {sha512, nil, v1.Descriptor{MediaType: full.MediaType, Digest: digest.Digest(sha512), Size: full.Size}, 0, "HEAD"},
		"odd media type":                {"latest", with("Content-Type", "Application/X; a=b"), v1.Descriptor{MediaType: "Application/X; a=b", Digest: testDigest, Size: full.Size}, 0, "HEAD"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) { manifest(w, r, test.edit) })
			got, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", test.ref)
			var methods []string
			for _, r := range s.requests() {
				methods = append(methods, r.Method)
				assert.Equal(t, "/v2/org/app/manifests/"+test.ref, r.URL.Path)
				assert.True(t, strings.HasSuffix(r.Header.Get("Accept"), ", */*"), r.Header.Get("Accept"))
				assert.Contains(t, r.Header.Get("Accept"), images.MediaTypeDockerManifestList)
			}
			assert.Equal(t, test.asked, strings.Join(methods, " "))
			if test.kind != 0 {
				requireKind(t, test.kind, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	t.Run("length unknown", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", testDigest.String())
			w.(http.Flusher).Flush()
		})
		got, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
		require.NoError(t, err)
		assert.EqualValues(t, -1, got.Size)
	})
	for _, status := range []int{http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		t.Run(fmt.Sprint("HEAD is ", status), func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(status)
					return
				}
				manifest(w, r, without("Docker-Content-Digest"))
			})
			got, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
			require.NoError(t, err)
			assert.Equal(t, full, got)
		})
	}
	t.Run("GET contradicts itself", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			manifest(w, r, with("Docker-Content-Digest", wrongDigest.String()))
		})
		_, err := newClient(t, s.URL).ResolveManifest(t.Context(), "org/app", "latest")
		requireKind(t, Invalid, err)
	})
}

func TestManifest(t *testing.T) {
	t.Run("as it came", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			manifest(w, r, with("Content-Type", "application/vnd.odd+json; v=1"))
		})
		mediaType, payload, err := newClient(t, s.URL).Manifest(t.Context(), "org/app", testDigest)
		require.NoError(t, err)
		assert.Equal(t, "application/vnd.odd+json; v=1", mediaType)
		assert.Equal(t, testContent, payload)
	})
	t.Run("by sha512", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) { manifest(w, r, nil) })
		_, payload, err := newClient(t, s.URL).Manifest(t.Context(), "org/app", digest.SHA512.FromBytes(testContent))
		require.NoError(t, err)
		assert.Equal(t, testContent, payload)
	})
	t.Run("other bytes", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) { manifest(w, r, nil) })
		_, payload, err := newClient(t, s.URL).Manifest(t.Context(), "org/app", wrongDigest)
		requireKind(t, Invalid, err)
		assert.ErrorContains(t, err, "the content is "+testDigest.String()+" and not "+wrongDigest.String())
		assert.Empty(t, payload)
	})
	t.Run("cut short", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(testContent)))
			_, _ = w.Write(testContent[:10])
		})
		_, _, err := newClient(t, s.URL).Manifest(t.Context(), "org/app", testDigest)
		requireKind(t, Unavailable, err)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	for name, page := range map[string]string{
		"a login page": "<html>Welcome</html>", "nothing": "", "a list": "[]", "half": `{"config":`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, page)
			})
			c := newClient(t, s.URL)
			_, _, err := c.Manifest(t.Context(), "org/app", digest.FromString(page))
			requireKind(t, Invalid, err)
			assert.ErrorContains(t, err, `no manifest but "text/html"`)
			_, err = c.ResolveManifest(t.Context(), "org/app", "latest")
			requireKind(t, Invalid, err)
		})
	}
	largest := append([]byte("{}"), bytes.Repeat([]byte(" "), images.MaxManifestSize-2)...)
	for name, test := range map[string]struct {
		content []byte
		length  bool
		ok      bool
	}{
		"the largest":              {largest, true, true},
		"the largest, chunked":     {largest, false, true},
		"one byte larger":          {append(largest, ' '), true, false},
		"one byte larger, chunked": {append(largest, ' '), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.length {
					w.Header().Set("Content-Length", strconv.Itoa(len(test.content)))
				}
				_, _ = w.Write(test.content)
			})
			_, payload, err := newClient(t, s.URL).Manifest(t.Context(), "org/app", digest.FromBytes(test.content))
			if test.ok {
				require.NoError(t, err)
				assert.Len(t, payload, len(test.content))
				return
			}
			requireKind(t, Invalid, err)
			assert.ErrorIs(t, err, images.ErrManifestTooLarge)
		})
	}
}
