package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// site has four upstreams, each with team/app:1 and library/busybox:1, whose
// contents differ.
type site struct {
	*harness.Appliance
	upstreams map[string]*harness.Upstream
	apps      map[string]string // digest of team/app:1 by upstream
	busybox   string            // digest of docker.io's library/busybox:1
	layers    map[string]string // digest of the layer of team/app:1
}

var siteNames = []string{"docker.io", "quay.io", "registry.lab:5000", "my-registry.example-site.com"}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{upstreams: map[string]*harness.Upstream{}, apps: map[string]string{}, layers: map[string]string{}}
	settings, logins := map[string]harness.Settings{}, map[string]string{}
	for _, name := range siteNames {
		u := harness.NewUpstream(t)
		app, busybox := harness.Image(t, 100), harness.Image(t, 100)
		u.Push(t, "team/app:1", app)
		u.Push(t, "library/busybox:1", busybox)
		s.upstreams[name], s.apps[name] = u, harness.Digest(t, app)
		s.layers[name], _ = harness.Layer(t, app, 0)
		if name == "docker.io" {
			s.busybox = harness.Digest(t, busybox)
		}
		settings[name], logins[name] = u.Settings(), harness.Login
	}
	settings["quay.io"] = settings["quay.io"].With("aliases", []string{"q", "quay-mirror"})
	s.Appliance = harness.Start(t, harness.Options{Upstreams: settings, Logins: logins})
	return s
}

func (s *site) digest(t *testing.T, path string) string {
	t.Helper()
	return s.HTTP(t).Get(path).Header.Get("Docker-Content-Digest")
}

func TestAddressing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for path, want := range map[string]string{
		// The upstream as the first part.
		"/v2/quay.io/team/app/manifests/1":                      s.apps["quay.io"],
		"/v2/docker.io/team/app/manifests/1":                    s.apps["docker.io"],
		"/v2/registry.lab_5000/team/app/manifests/1":            s.apps["registry.lab:5000"],
		"/v2/my-registry.example-site.com/team/app/manifests/1": s.apps["my-registry.example-site.com"],
		// As containerd asks its mirrors.
		"/v2/team/app/manifests/1?ns=quay.io":                       s.apps["quay.io"],
		"/v2/team/app/manifests/1?ns=docker.io":                     s.apps["docker.io"],
		"/v2/team/app/manifests/1?ns=registry.lab:5000":             s.apps["registry.lab:5000"],
		"/v2/team/app/manifests/1?ns=registry.lab%3A5000":           s.apps["registry.lab:5000"],
		"/v2/quay.io/team/app/manifests/1?ns=quay.io":               s.apps["quay.io"],
		"/v2/registry.lab_5000/team/app/manifests/1?ns=quay.io%3A1": "",
		// Without an upstream, as dockerd asks its mirrors.
		"/v2/team/app/manifests/1": s.apps["docker.io"],
		// One-part names of Docker Hub.
		"/v2/docker.io/library/busybox/manifests/1":    s.busybox,
		"/v2/docker.io/busybox/manifests/1":            s.busybox,
		"/v2/library/busybox/manifests/1":              s.busybox,
		"/v2/busybox/manifests/1":                      s.busybox,
		"/v2/busybox/manifests/1?ns=docker.io":         s.busybox,
		"/v2/library/busybox/manifests/1?ns=docker.io": s.busybox,
		// Aliases mean the same.
		"/v2/q/team/app/manifests/1":           s.apps["quay.io"],
		"/v2/quay-mirror/team/app/manifests/1": s.apps["quay.io"],
	} {
		if want == "" {
			s.HTTP(t).Fails(http.MethodGet, path, http.StatusNotFound, "NAME_UNKNOWN")
			continue
		}
		require.Equal(t, want, s.digest(t, path), path)
	}
}

// Aliases and ways to ask don't multiply what is stored or fetched.
func TestAllAddressesMeanOneRepository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	blob := "/team/app/blobs/" + s.layers["quay.io"]
	s.HTTP(t).Get("/v2/quay.io/team/app/manifests/1")
	for _, path := range []string{"/v2/quay.io" + blob, "/v2/q" + blob, "/v2" + blob + "?ns=quay.io", "/v2/quay.io" + blob + "?ns=quay.io"} {
		s.HTTP(t).Get(path)
	}
	require.Equal(t, 1, s.upstreams["quay.io"].Count(http.MethodGet, "/blobs/"))
	entries, err := os.ReadDir(filepath.Join(s.Store(), "docker/registry/v2/repositories"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "quay.io", entries[0].Name())
}

func TestUpstreamsNeverAnswerForEachOther(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.HTTP(t)
	for _, name := range []string{"quay.io", "docker.io"} {
		harness.Skopeo(t).Copy(s.Addr+"/"+name+"/team/app:1", "--src-tls-verify=false")
	}
	c.Fails(http.MethodGet, "/v2/quay.io/team/app/blobs/"+s.layers["docker.io"], http.StatusNotFound, "BLOB_UNKNOWN")
	c.Fails(http.MethodGet, "/v2/quay.io/team/app/manifests/"+s.apps["docker.io"], http.StatusNotFound, "MANIFEST_UNKNOWN")
	c.Fails(http.MethodGet, "/v2/quay.io/library/busybox/blobs/"+s.layers["quay.io"], http.StatusNotFound, "BLOB_UNKNOWN")
	// Also not when the upstream can't be asked.
	s.upstreams["quay.io"].Stop()
	for _, path := range []string{
		"/v2/quay.io/team/app/blobs/" + s.layers["docker.io"],
		"/v2/quay.io/team/app/manifests/" + s.apps["docker.io"],
		"/v2/quay.io/library/busybox/blobs/" + s.layers["quay.io"],
	} {
		require.NotEqual(t, http.StatusOK, c.Must(http.MethodGet, path).Status, path)
	}
	require.Equal(t, s.apps["quay.io"], s.digest(t, "/v2/quay.io/team/app/manifests/1"), "stale, and its own")
}

// A host that only looks like a configured one must not be answered by it, and
// nobody's credentials may go there.
func TestLookAlikesOfUpstreamsAreUnknown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.HTTP(t)
	for _, path := range []string{
		"/v2/quay.io.evil/team/app/manifests/1", "/v2/quay.ioo/team/app/manifests/1",
		"/v2/quay.i/team/app/manifests/1", "/v2/xquay.io/team/app/manifests/1",
		"/v2/registry.lab_500/team/app/manifests/1", "/v2/registry.lab/team/app/manifests/1",
		"/v2/nowhere.example/team/app/manifests/1", "/v2/localhost_5000/team/app/manifests/1",
		"/v2/team/app/manifests/1?ns=quay.io.evil", "/v2/team/app/manifests/1?ns=quay.ioo",
		"/v2/team/app/manifests/1?ns=q.quay.io", "/v2/team/app/blobs/" + s.apps["quay.io"] + "?ns=evil.example",
	} {
		message := c.Fails(http.MethodGet, path, http.StatusNotFound, "NAME_UNKNOWN")
		for _, name := range []string{"docker.io", "quay.io", "registry.lab_5000", "my-registry.example-site.com"} {
			require.Contains(t, message, name, "it says which upstreams there are")
		}
	}
	for name, u := range s.upstreams {
		require.Zero(t, u.Count("", "/v2/.*(manifests|blobs)"), name)
	}
}

// The ways in which real clients come to a cache.
func TestClientsThroughMirrorConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, conf := range map[string]string{
		"path": `[[registry]]
prefix = "quay.io"
location = "unreachable.invalid"
[[registry.mirror]]
location = "` + s.Addr + `/quay.io"
insecure = true
`,
		"root": `[[registry]]
prefix = "docker.io"
location = "unreachable.invalid"
[[registry.mirror]]
location = "` + s.Addr + `"
insecure = true
`,
	} {
		image := map[string]string{"path": "quay.io/team/app:1", "root": "docker.io/library/busybox:1"}[name]
		podman := harness.Podman(t)
		require.NoError(t, os.WriteFile(filepath.Join(podman.Dir, "registries.conf"), []byte(conf), 0o600))
		podman.Must("pull", "--quiet", image)
		digest := podman.Must("image", "inspect", "--format", "{{.Digest}}", image)
		want := map[string]string{"path": s.apps["quay.io"], "root": s.busybox}[name]
		require.Contains(t, digest, want)
	}
}
