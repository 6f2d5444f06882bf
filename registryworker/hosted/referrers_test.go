package hosted

import (
	"encoding/json"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReferrers(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/app:1")
	subject := w.do("GET", "/v2/local/app/manifests/1", nil).Header.Get("Docker-Content-Digest")
	path := "/v2/local/app/referrers/" + subject
	index := func(query string) (got v1.Index) {
		a := w.do("GET", path+query, nil)
		require.Equal(t, 200, a.StatusCode, a.body)
		require.Equal(t, v1.MediaTypeImageIndex, a.Header.Get("Content-Type"))
		require.NoError(t, json.Unmarshal([]byte(a.body), &got))
		require.NotNil(t, got.Manifests)
		return got
	}
	assert.Empty(t, index("").Manifests)

	refer := func(kind string) string {
		layer := w.upload("local/app", kind)
		a := w.manifest("local/app", "", layer, len(kind), `"artifactType":"`+kind+`","annotations":{"kind":"`+kind+`"},`+
			`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+subject+`","size":1},`)
		require.Equal(t, 201, a.StatusCode, a.body)
		assert.Equal(t, subject, a.Header.Get("OCI-Subject"))
		return a.Header.Get("Docker-Content-Digest")
	}
	sbom, signature := refer("text/sbom"), refer("text/signature")
	refer("text/sbom")
	got := index("").Manifests
	require.Len(t, got, 2)
	assert.Equal(t, sbom, got[0].Digest.String())
	assert.Equal(t, "text/sbom", got[0].ArtifactType)
	assert.Equal(t, map[string]string{"kind": "text/sbom"}, got[0].Annotations)
	assert.Equal(t, v1.MediaTypeImageManifest, got[0].MediaType)
	assert.Positive(t, got[0].Size)

	got = index("?artifactType=text/signature").Manifests
	require.Len(t, got, 1)
	assert.Equal(t, signature, got[0].Digest.String())
	assert.Equal(t, "artifactType", w.do("GET", path+"?artifactType=x", nil).Header.Get("OCI-Filters-Applied"))

	// Another process knows it from the store.
	w.stop()
	w = start(t, w.dir)
	require.Len(t, index("").Manifests, 2)
	assert.Equal(t, 202, w.do("DELETE", "/v2/local/app/manifests/"+signature, nil).StatusCode)
	got = index("").Manifests
	require.Len(t, got, 1)
	assert.Equal(t, sbom, got[0].Digest.String())
}
