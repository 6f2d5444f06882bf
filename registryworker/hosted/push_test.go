package hosted

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func TestATagIsFreshAfterAPushAndGoneAfterADelete(t *testing.T) {
	w := start(t, t.TempDir())
	first := w.push("local/app:1")
	w.push("local/app:1")
	a := w.do("GET", "/v2/local/app/manifests/1", nil)
	old, err := first.Digest()
	require.NoError(t, err)
	now := a.Header.Get("Docker-Content-Digest")
	assert.NotEqual(t, old.String(), now)

	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+now, nil).StatusCode)
	for _, ref := range []string{now, "1"} {
		gone := w.do("GET", "/v2/local/app/manifests/"+ref, nil)
		assert.Equal(t, 404, gone.StatusCode)
		assert.Equal(t, "MANIFEST_UNKNOWN", gone.code())
	}
	assert.Equal(t, 404, w.do("DELETE", "/v2/local/app/manifests/"+now, nil).StatusCode)
	assert.Equal(t, 200, w.do("GET", "/v2/local/app/manifests/"+old.String(), nil).StatusCode)

	w.push("local/app:2")
	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/2", nil).StatusCode)
	assert.Equal(t, 404, w.do("GET", "/v2/local/app/manifests/2", nil).StatusCode)
	assert.Len(t, listed(t, w), 2, "the former image and the one whose tag went have no tags")
}

func TestChunkedUpload(t *testing.T) {
	w := start(t, t.TempDir())
	content := strings.Repeat("0123456789", 5000)
	d := digest.FromString(content)
	at := w.do("POST", "/v2/local/app/blobs/uploads/", nil)
	require.Equal(t, 202, at.StatusCode, at.body)
	assert.NotEmpty(t, at.Header.Get("Docker-Upload-UUID"))
	assert.True(t, strings.HasPrefix(at.Header.Get("Location"), "/v2/local/app/blobs/uploads/"), "relative, as only the router knows its address")
	location := at.Header.Get("Location")
	for from := 0; from < len(content); from += 20000 {
		to := min(from+20000, len(content))
		at = w.do("PATCH", location, []byte(content[from:to]), "Content-Type", "application/octet-stream",
			"Content-Range", fmt.Sprintf("%d-%d", from, to-1))
		require.Equal(t, 202, at.StatusCode, at.body)
		assert.Equal(t, fmt.Sprintf("0-%d", to-1), at.Header.Get("Range"))
		if from == 0 {
			wrong := w.do("PATCH", at.Header.Get("Location"), []byte("x"), "Content-Range", "7-7")
			assert.Equal(t, http.StatusRequestedRangeNotSatisfiable, wrong.StatusCode)
			for _, text := range []string{"bytes 20000-20000/50000", "20000", "-20000", "20000-99999999999999999999"} {
				wrong = w.do("PATCH", at.Header.Get("Location"), []byte("x"), "Content-Range", text)
				assert.Equal(t, http.StatusRequestedRangeNotSatisfiable, wrong.StatusCode, text)
				assert.Equal(t, "RANGE_INVALID", wrong.code())
				assert.Contains(t, wrong.body, "such as 0-1023")
			}
			asked := w.do("GET", at.Header.Get("Location"), nil)
			assert.Equal(t, 204, asked.StatusCode)
			assert.Equal(t, at.Header.Get("Range"), asked.Header.Get("Range"))
		}
		location = at.Header.Get("Location")
	}
	wrong := w.do("PUT", location+"&digest="+digest.FromString("other").String(), nil)
	assert.Equal(t, "DIGEST_INVALID", wrong.code())
	assert.Equal(t, 404, w.do("HEAD", "/v2/local/app/blobs/"+d.String(), nil).StatusCode)
	w.upload("local/app", content)
	assert.Equal(t, content, w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).body)
	assert.Equal(t, content, w.do("GET", "/v2/local/app/blobs/"+d.String(), nil, refusedHeader, "1").body)

	aborted := w.do("POST", "/v2/local/app/blobs/uploads/", nil).Header.Get("Location")
	assert.Equal(t, 204, w.do("DELETE", aborted, nil).StatusCode)
	assert.Equal(t, 404, w.do("GET", aborted, nil).StatusCode)
}

func TestTagsArePaged(t *testing.T) {
	w := start(t, t.TempDir())
	for _, tag := range []string{"1", "2", "3"} {
		w.push("local/app:" + tag)
	}
	a := w.do("GET", "/v2/local/app/tags/list?n=2", nil)
	assert.JSONEq(t, `{"name":"local/app","tags":["1","2"]}`, a.body)
	assert.Equal(t, `</v2/local/app/tags/list?last=2&n=2>; rel="next"`, a.Header.Get("Link"))
	a = w.do("GET", "/v2/local/app/tags/list?n=2&last=2", nil)
	assert.JSONEq(t, `{"name":"local/app","tags":["3"]}`, a.body)
	for _, last := range []string{"%00", "..%2F..%2F..", "a%2Fb", "%3F"} {
		a = w.do("GET", "/v2/local/app/tags/list?last="+last, nil)
		assert.Equal(t, 400, a.StatusCode, last)
		assert.Equal(t, "TAG_INVALID", a.code(), last)
		assert.NotContains(t, a.body, w.dir)
	}
}

func TestADamagedStoreShowsNoPaths(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	tags := filepath.Join(images.HostedDir(w.dir), "docker/registry/v2/repositories/local/app/_manifests/tags")
	require.NoError(t, os.RemoveAll(tags))
	require.NoError(t, os.WriteFile(tags, nil, 0o600))
	a := w.do("GET", "/v2/local/app/tags/list", nil)
	assert.Equal(t, 500, a.StatusCode)
	assert.Contains(t, a.body, "the store of pushed images failed")
	assert.NotContains(t, a.body, "docker/registry")
}

func TestMount(t *testing.T) {
	w := start(t, t.TempDir())
	d := w.upload("local/base", "layer")
	assert.Equal(t, "BLOB_UNKNOWN", w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).code())
	a := w.do("POST", "/v2/local/app/blobs/uploads/?mount="+d.String()+"&from=local/base", nil)
	assert.Equal(t, 201, a.StatusCode, a.body)
	assert.Equal(t, "layer", w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).body)
	for _, from := range []string{"local/none", "quay.io/org/app"} {
		a = w.do("POST", "/v2/local/other/blobs/uploads/?mount="+d.String()+"&from="+from, nil)
		assert.Equal(t, 202, a.StatusCode, "it is to be uploaded")
	}
}

// Whether a client may mount from a repository is decided by the query.
func TestABodyHasNoParameters(t *testing.T) {
	w := start(t, t.TempDir())
	const form = "application/x-www-form-urlencoded"
	secret := w.upload("local/secret", "layer")
	a := w.do("POST", "/v2/local/app/blobs/uploads/", []byte("from=local/secret&mount="+secret.String()), "Content-Type", form)
	assert.Equal(t, 202, a.StatusCode, "nothing is mounted")
	assert.Equal(t, 404, w.do("HEAD", "/v2/local/app/blobs/"+secret.String(), nil).StatusCode)

	// It is the blob, as curl sends it.
	content := "digest=" + digest.SHA512.FromString("").String()
	d := digest.FromString(content)
	b := w.do("PUT", a.Header.Get("Location")+"&digest="+d.String(), []byte(content), "Content-Type", form)
	assert.Equal(t, 201, b.StatusCode, b.body)
	assert.Equal(t, content, w.do("GET", "/v2/local/app/blobs/"+d.String(), nil).body)
}

func TestManifestsAreChecked(t *testing.T) {
	w := start(t, t.TempDir())
	a := w.manifest("local/app", "1", digest.FromString("nowhere"), 7, "")
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", a.code(), a.body)
	a = w.do("PUT", "/v2/local/app/manifests/1", []byte("{"), "Content-Type", v1.MediaTypeImageManifest)
	assert.Equal(t, "MANIFEST_INVALID", a.code(), a.body)
	a = w.do("PUT", "/v2/local/app/manifests/1", make([]byte, images.MaxManifestSize+1), "Content-Type", v1.MediaTypeImageManifest)
	assert.Equal(t, "SIZE_INVALID", a.code(), a.body)
	descriptor := func(d string) string { return `{"mediaType":"x","size":1,"digest":"` + d + `"}` }
	for content, says := range map[string]string{
		"null": "not a JSON object", "[]": "not a JSON object", " ": "not a JSON object", `{"layers":{}}`: "the manifest is invalid: ",
		`{"layers":[` + descriptor("sha256:zz") + `]}`: `names the digest \"sha256:zz\"`,
		`{"config":` + descriptor("md5:00") + `}`:      `names the digest \"md5:00\"`,
		`{"subject":` + descriptor("../../x") + `}`:    `names the digest \"../../x\"`,
		`{"manifests":[` + descriptor("") + `]}`:       `names the digest \"\"`,
	} {
		a = w.do("PUT", "/v2/local/app/manifests/1", []byte(content), "Content-Type", v1.MediaTypeImageManifest)
		assert.Equal(t, 400, a.StatusCode, content)
		assert.Equal(t, "MANIFEST_INVALID", a.code(), content)
		assert.Contains(t, a.body, says)
	}
	layer := w.upload("local/app", "layer")
	a = w.manifest("local/app", digest.FromString("other").String(), layer, 5, "")
	assert.Equal(t, "DIGEST_INVALID", a.code(), a.body)
	assert.Empty(t, listed(t, w))
}

// The distribution spec wants no other digests than sha256; whoever pushes by one
// is told so.
func TestPushesByOtherDigestsAreRefused(t *testing.T) {
	w := start(t, t.TempDir())
	content := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `"}`
	d := digest.SHA512.FromString(content)
	at := w.do("POST", "/v2/local/app/blobs/uploads/", nil).Header.Get("Location")
	for path, what := range map[string]string{at + "&digest=" + d.String(): "blobs", "/v2/local/app/manifests/" + d.String(): "manifests"} {
		a := w.do("PUT", path, []byte(content), "Content-Type", v1.MediaTypeImageManifest)
		assert.Equal(t, 400, a.StatusCode)
		assert.Equal(t, "DIGEST_INVALID", a.code())
		assert.Contains(t, a.body, what+" are pushed by their sha256 digest here, not by sha512")
	}
}

func TestWhatIsNotThereCanNotBeDeleted(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	for _, path := range []string{"/v2/local/app/manifests/2", "/v2/local/none/manifests/1"} {
		a := w.do("DELETE", path, nil)
		assert.Equal(t, 404, a.StatusCode)
		assert.Equal(t, "MANIFEST_UNKNOWN", a.code())
		assert.NotContains(t, a.body, "docker/registry", "paths of the store are nobody's business")
	}
}
