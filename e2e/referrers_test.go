package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// signature makes an artifact whose subject is the image.
func signature(t *testing.T, subject v1.Image) v1.Image {
	t.Helper()
	desc, err := partial.Descriptor(subject)
	require.NoError(t, err)
	return mutate.Subject(harness.OCIImage(t, 50), *desc).(v1.Image)
}

func referrers(t *testing.T, answer harness.Answer) []string {
	t.Helper()
	require.Equal(t, "application/vnd.oci.image.index.v1+json", answer.Header.Get("Content-Type"))
	var index v1.IndexManifest
	require.NoError(t, json.Unmarshal(answer.Body, &index))
	digests := []string{}
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest.String())
	}
	return digests
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	img := harness.OCIImage(t, 3000)
	sig := signature(t, img)
	u.Push(t, "podman/hello:latest", img)
	u.Push(t, "podman/hello:sig", sig)
	a := harness.Cache(t, u)
	path := "/v2/quay.io/podman/hello/referrers/" + harness.Digest(t, img)
	want := []string{harness.Digest(t, sig)}
	require.Equal(t, want, referrers(t, a.HTTP(t).Get(path)))
	a.HTTP(t).Get("/v2/quay.io/podman/hello/manifests/" + want[0])
	filtered := a.HTTP(t).Get(path + "?artifactType=none/such")
	require.Empty(t, referrers(t, filtered))
	require.Equal(t, "artifactType", filtered.Header.Get("OCI-Filters-Applied"))
	a.HTTP(t).Fails(http.MethodGet, "/v2/quay.io/podman/hello/referrers/latest", http.StatusBadRequest, "DIGEST_INVALID")

	// They are cached: signatures must be checked also without the upstream.
	u.Stop()
	a.Restart()
	require.Equal(t, want, referrers(t, a.HTTP(t).Get(path)))
}

// An upstream without the API says so, and clients then ask for the tag that
// stands in for it, which is a tag like any other.
func TestReferrersFallbackTag(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.OCIImage(t, 3000)
	u.Push(t, "podman/hello:latest", img)
	tag := strings.Replace(harness.Digest(t, img), ":", "-", 1)
	sig := harness.OCIImage(t, 50)
	a := harness.Cache(t, u)
	path := "/v2/quay.io/podman/hello/"
	require.Equal(t, http.StatusNotFound,
		a.HTTP(t).Must(http.MethodGet, path+"referrers/"+harness.Digest(t, img)).Status)

	// cosign's tags too; that there is none yet is not remembered for long.
	for _, name := range []string{tag, tag + ".sig", tag + ".att", tag + ".sbom"} {
		a.HTTP(t).Fails(http.MethodGet, path+"manifests/"+name, http.StatusNotFound, "MANIFEST_UNKNOWN")
		u.Push(t, "podman/hello:"+name, sig)
	}
	for _, name := range []string{tag, tag + ".sig", tag + ".att", tag + ".sbom"} {
		harness.Eventually(t, func() bool {
			return a.HTTP(t).Must(http.MethodGet, path+"manifests/"+name).Status == http.StatusOK
		}, "%s is found", name)
	}
}
