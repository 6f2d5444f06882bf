package router

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

func TestCatalogIsPaged(t *testing.T) {
	c := newCache(t)
	m := []byte(`{"mediaType":"` + v1.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	for _, name := range []string{"quay.io/c", "docker.io/library/a", "quay.io/b"} {
		require.NoError(t, c.store.PutManifest(name, digest.FromBytes(m), v1.MediaTypeImageManifest, m))
	}
	c.start()

	response, body := c.get("/v2/_catalog")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.JSONEq(t, `{"repositories":["docker.io/library/a","quay.io/b","quay.io/c"]}`, body)
	assert.Empty(t, response.Header.Get("Link"))

	response, body = c.get("/v2/_catalog?n=2")
	assert.JSONEq(t, `{"repositories":["docker.io/library/a","quay.io/b"]}`, body)
	link := response.Header.Get("Link")
	assert.Equal(t, `</v2/_catalog?last=quay.io%2Fb&n=2>; rel="next"`, link)

	next, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	response, body = c.get(next)
	assert.JSONEq(t, `{"repositories":["quay.io/c"]}`, body)
	assert.Empty(t, response.Header.Get("Link"))

	_, body = c.get("/v2/_catalog?n=0")
	assert.JSONEq(t, `{"repositories":[]}`, body)
	_, body = c.get("/v2/_catalog?n=100000")
	assert.JSONEq(t, `{"repositories":["docker.io/library/a","quay.io/b","quay.io/c"]}`, body)
}

func TestCatalogOfABrokenStoreIsAnError(t *testing.T) {
	c := newCache(t).start()
	require.NoError(t, os.RemoveAll(c.settings.StoreDir))
	require.NoError(t, os.WriteFile(c.settings.StoreDir, nil, 0o600))
	response, body := c.get("/v2/_catalog")
	assert.Equal(t, http.StatusInternalServerError, response.StatusCode)
	assert.Equal(t, accesslog.Failed.Header(), response.Header.Get("Cache-Status"))
	requireError(t, body, errcode.ErrorCodeUnknown, "store")
	assert.NotContains(t, body, c.dir, "paths are for the log")
	assert.Contains(t, c.log.String(), "not a directory")
}
