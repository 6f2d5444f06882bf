package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

func tags(t *testing.T, answer harness.Answer) []string {
	t.Helper()
	var list struct {
		Name string
		Tags []string
	}
	require.NoError(t, json.Unmarshal(answer.Body, &list), "%s", answer.Body)
	require.Equal(t, "quay.io/podman/hello", list.Name)
	return list.Tags
}

var allTags = []string{"1.0", "1.1", "2.0", "edge", "latest"}

func pushTags(t *testing.T, u *harness.Upstream) {
	t.Helper()
	img := harness.Image(t, 100)
	for _, tag := range allTags {
		u.Push(t, "podman/hello:"+tag, img)
	}
}

func TestTagsList(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	pushTags(t, u)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	list := "/v2/quay.io/podman/hello/tags/list"
	require.Equal(t, allTags, tags(t, c.Get(list)))

	// In pages; the link of one leads to the next, through this cache.
	page := c.Get(list + "?n=2")
	require.Equal(t, allTags[:2], tags(t, page))
	require.Equal(t, `</v2/quay.io/podman/hello/tags/list?last=1.1&n=2>; rel="next"`, page.Header.Get("Link"))
	page = c.Get(list + "?n=2&last=edge")
	require.Equal(t, allTags[4:], tags(t, page))
	require.Empty(t, page.Header.Get("Link"))
	require.Equal(t, allTags[3:], tags(t, c.Get(list+"?last=2.0")))
	c.Fails(http.MethodGet, list+"?n=-1", http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
	c.Fails(http.MethodGet, list+"?n=many", http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
	c.Fails(http.MethodGet, "/v2/quay.io/podman/none/tags/list", http.StatusNotFound, "NAME_UNKNOWN")

	// Without the upstream, what is cached is listed.
	c.Get("/v2/quay.io/podman/hello/manifests/1.1")
	c.Get("/v2/quay.io/podman/hello/manifests/latest")
	u.Stop()
	require.Equal(t, []string{"1.1", "latest"}, tags(t, c.Get(list)))
}

// docker-registry 2.8 lists in no order and knows no pages; clients that page
// must get each tag once all the same.
func TestTagsListOfAnUpstreamWithoutPages(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	pushTags(t, u)
	a := harness.Cache(t, u)
	repo, err := name.NewRepository(a.Addr+"/quay.io/podman/hello", name.Insecure)
	require.NoError(t, err)
	got, err := remote.List(repo, remote.WithPageSize(2))
	require.NoError(t, err)
	require.ElementsMatch(t, allTags, got)
	out := harness.Skopeo(t).Must("list-tags", "--tls-verify=false", "docker://"+a.Addr+"/quay.io/podman/hello")
	for _, tag := range allTags {
		require.Contains(t, out, `"`+tag+`"`)
	}
}

func TestCatalogListsWhatIsCached(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img := harness.Image(t, 100)
	for _, repo := range []string{"a/one", "b/two", "c/three", "d/never"} {
		u.Push(t, repo+":1", img)
	}
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{
		"quay.io": u.Settings(), "other.example": u.Settings(),
	}})
	c := a.HTTP(t)
	for _, repo := range []string{"quay.io/a/one", "quay.io/b/two", "other.example/c/three"} {
		c.Get("/v2/" + repo + "/manifests/1")
	}
	catalog := func(query string) ([]string, string) {
		answer := c.Get("/v2/_catalog" + query)
		var list struct{ Repositories []string }
		require.NoError(t, json.Unmarshal(answer.Body, &list))
		return list.Repositories, answer.Header.Get("Link")
	}
	all, link := catalog("")
	require.Equal(t, []string{"other.example/c/three", "quay.io/a/one", "quay.io/b/two"}, all)
	require.Empty(t, link)
	first, link := catalog("?n=2")
	require.Equal(t, all[:2], first)
	require.Equal(t, `</v2/_catalog?last=quay.io%2Fa%2Fone&n=2>; rel="next"`, link)
	rest, link := catalog("?n=2&last=quay.io%2Fa%2Fone")
	require.Equal(t, all[2:], rest)
	require.Empty(t, link)
}
