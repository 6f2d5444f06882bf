package e2e

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// A digest is no permission: what one repository brought, another gets without
// a second transfer, but not before the upstream agreed.
func TestBlobOfAnotherRepository(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t, harness.WithUsers(map[string]harness.User{
		"robot": {Password: "pass:w0rd", Repositories: []string{"podman/hello", "team/app"}},
	}))
	img := harness.Image(t, 300_000)
	for _, repo := range []string{"podman/hello", "team/app", "secret/app"} {
		u.Push(t, repo+":1", img)
	}
	layer, content := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)
	c.Get(blobs + layer)
	a.WaitStored(t, layer)
	transfers := u.Sent(http.MethodGet, "/blobs/")
	u.Forget()

	c.Fails(http.MethodGet, "/v2/quay.io/secret/app/blobs/"+layer, http.StatusForbidden, "DENIED")
	var asking sync.WaitGroup
	for range 10 {
		c := a.HTTP(t)
		asking.Go(func() {
			answer, err := c.Do(http.MethodGet, "/v2/quay.io/team/app/blobs/"+layer)
			if err != nil || string(answer.Body) != string(content) {
				t.Errorf("%d: %v", answer.Status, err)
			}
		})
	}
	asking.Wait()
	require.NotZero(t, u.Count(http.MethodHead, "/v2/team/app/blobs/"+layer))
	require.Zero(t, u.Count(http.MethodGet, "/blobs/"))
	u.Forget()
	c.Get("/v2/quay.io/team/app/blobs/" + layer)
	require.Zero(t, u.Count("", ""), "it is remembered")

	u.Stop()
	c.Get("/v2/quay.io/team/app/blobs/" + layer)
	c.Fails(http.MethodGet, "/v2/quay.io/other/app/blobs/"+layer, http.StatusServiceUnavailable, "UNAVAILABLE")
	require.NotZero(t, transfers)
}

// Nor is being there first: a repository that the upstream refuses gets nothing
// of a transfer that runs for another.
func TestTransferOfAnotherRepository(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 2_000_000)
	a := d.Cache(t, nil)
	d.Inject("", "/secret/", harness.Status(403))
	release := make(chan struct{})
	d.Inject(http.MethodGet, "/podman/hello/blobs/"+blob, harness.WaitAfter(1_000_000, release))
	var reading sync.WaitGroup
	reading.Go(func() { readAll(t, a, blob, content, 1) })
	harness.Eventually(t, func() bool { return a.Metric(t, "registry_cache_fill_running") == 1 }, "a transfer")
	c := a.HTTP(t)
	c.Fails(http.MethodGet, "/v2/quay.io/secret/app/blobs/"+blob, http.StatusForbidden, "DENIED")
	reading.Go(func() {
		got, err := c.Do(http.MethodGet, "/v2/quay.io/team/app/blobs/"+blob)
		if err != nil || string(got.Body) != string(content) {
			t.Errorf("%d: %v", got.Status, err)
		}
	})
	harness.Eventually(t, func() bool { return d.Count(http.MethodHead, "/team/app/") == 1 }, "the upstream is asked")
	close(release)
	reading.Wait()
	require.Equal(t, 1, d.Count(http.MethodGet, "/blobs/"+blob))
	a.WaitStored(t, blob)
	d.Stop()
	c.Get("/v2/quay.io/team/app/blobs/" + blob)
	c.Fails(http.MethodGet, "/v2/quay.io/secret/app/blobs/"+blob, http.StatusServiceUnavailable, "UNAVAILABLE")
}

// Manifests are bounded, since they are held in memory.
func TestManifestTooLarge(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	big := make([]byte, 4<<20+1)
	for i := range big {
		big[i] = ' '
	}
	big[0], big[len(big)-1] = '{', '}'
	u.Inject("", "/manifests/", harness.Content("application/vnd.oci.image.manifest.v1+json", big))
	a := harness.Cache(t, u)
	message := a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusBadGateway, "UPSTREAM_INVALID")
	require.Contains(t, message, "4 MiB")
	require.Empty(t, storedBlobs(t, a))
}

// A type nobody knows yet is passed on and kept as it is.
func TestUnknownKindsOfManifests(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	for mediaType, content := range map[string]string{
		"application/vnd.future.thing.v9+json":                      `{"schemaVersion":9,  "odd": ["spacing" ]}` + "\n",
		"application/vnd.oci.artifact.manifest.v1+json":             `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b","blobs":[]}`,
		"application/vnd.docker.distribution.manifest.list.v2+json": `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`,
	} {
		in := u.Inject("", "/manifests/", harness.Content(mediaType, []byte(content)))
		a := harness.Cache(t, u)
		for _, state := range []string{"cold", "warm", "after a restart, without the upstream"} {
			if state[0] == 'a' {
				u.Stop()
				a.Restart()
			}
			answer := a.HTTP(t).With("Accept", "application/vnd.oci.image.manifest.v1+json").Get(manifestPath)
			require.Equal(t, content, string(answer.Body), state)
			require.Equal(t, mediaType, answer.Header.Get("Content-Type"), state)
		}
		a.Stop()
		in.Remove()
		u.Start()
	}
}
