package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// The cache exists for this: what was pulled once can be pulled for ever.
func TestPullOnceThenWithoutTheUpstream(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello, multi := harness.Image(t, 3000, 20_000), harness.Index(t, 4000)
	u.Push(t, "podman/hello:latest", hello)
	u.Push(t, "podman/multi:1", multi)
	a := harness.Cache(t, u)
	images := []string{a.Addr + "/quay.io/podman/hello:latest", a.Addr + "/quay.io/podman/multi:1"}
	podman, buildah, skopeo := harness.Podman(t), harness.Buildah(t), harness.Skopeo(t)
	pull := func(t *testing.T) {
		t.Helper()
		for _, image := range images {
			podman.Pull(image)
			buildah.Pull(image)
			skopeo.Copy(image, "--src-tls-verify=false")
		}
	}

	pull(t)
	layer, content := harness.Layer(t, hello, 0)
	require.Equal(t, 1, u.Count(http.MethodGet, "/blobs/"+layer), "three clients cost the upstream one transfer")

	u.Stop()
	u.Tokens.Stop()
	pull(t)
	a.Restart()
	pull(t)
	require.Equal(t, content, a.HTTP(t).Get("/v2/quay.io/podman/hello/blobs/"+layer).Body)
}

// The store belongs to whoever runs the cache: any registry can serve it.
func TestStoreHasDistributionsLayout(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello := harness.Image(t, 3000, 4000)
	u.Push(t, "podman/hello:latest", hello)
	a := harness.Cache(t, u)
	skopeo := harness.Skopeo(t)
	skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	a.Stop()

	other := harness.ServeStore(t, a.Store())
	dir := skopeo.Copy(other+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	require.NoError(t, err)
	require.Equal(t, harness.Manifest(t, hello), manifest)
}

// What docker-registry left behind is used: after the upstream's consent its
// blobs are not fetched again.
func TestBlobsOfAnExistingRegistryAreUsed(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello := harness.Image(t, 3000, 4000)
	u.Push(t, "podman/hello:latest", hello)
	first := harness.Cache(t, u)
	image := "/quay.io/podman/hello:latest"
	skopeo := harness.Skopeo(t)
	skopeo.Copy(first.Addr+image, "--src-tls-verify=false")
	first.Stop()
	// As the ancestor of this cache kept it: no upstream in the name.
	repositories := filepath.Join(first.Store(), "docker/registry/v2/repositories")
	require.NoError(t, os.Rename(filepath.Join(repositories, "quay.io", "podman"), filepath.Join(repositories, "podman")))

	u.Forget()
	first.Start()
	skopeo.Copy(first.Addr+image, "--src-tls-verify=false")
	require.Zero(t, u.Count(http.MethodGet, "/blobs/"), "the blobs were here already")
	require.NotZero(t, u.Count(http.MethodHead, "/blobs/"), "but the upstream was asked whether this repository has them")
}

// Every kind of manifest comes as it is.
func TestPullKeepsManifestsAsTheyAre(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	docker, oci, index := harness.Image(t, 100), harness.OCIImage(t, 100), harness.Index(t, 100)
	u.Push(t, "kinds/docker:1", docker)
	u.Push(t, "kinds/oci:1", oci)
	u.Push(t, "kinds/index:1", index)
	c := harness.Cache(t, u).HTTP(t)
	for path, want := range map[string]struct {
		mediaType string
		manifest  []byte
		digest    string
	}{
		"docker": {"application/vnd.docker.distribution.manifest.v2+json", harness.Manifest(t, docker), harness.Digest(t, docker)},
		"oci":    {"application/vnd.oci.image.manifest.v1+json", harness.Manifest(t, oci), harness.Digest(t, oci)},
		"index":  {"application/vnd.oci.image.index.v1+json", harness.Manifest(t, index), harness.Digest(t, index)},
	} {
		// The client says it takes something else; a cache can't convert.
		for range 2 {
			got := c.With("Accept", "application/vnd.oci.image.manifest.v1+json").Get("/v2/quay.io/kinds/" + path + "/manifests/1")
			require.Equal(t, want.manifest, got.Body)
			require.Equal(t, want.mediaType, got.Header.Get("Content-Type"))
			require.Equal(t, want.digest, got.Header.Get("Docker-Content-Digest"))
		}
	}
}
