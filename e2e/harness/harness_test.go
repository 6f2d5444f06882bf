package harness

import (
	"io"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// The upstream must be as strict as the registries it stands for, or the
// tests that use it show nothing.
func TestUpstreamDemandsTokensBoundToScopes(t *testing.T) {
	t.Parallel()
	u := NewUpstream(t, WithUsers(map[string]User{
		"alice": {Password: "a:1", Repositories: []string{"team/*"}},
	}))
	img := Image(t, 100, 200)
	u.Push(t, "team/app:1", img)
	u.Push(t, "other/app:1", img)
	require.Zero(t, u.Count("", ""), "pushes are not counted")

	skopeo := Skopeo(t)
	pull := func(image, login string) error {
		_, err := skopeo.Do("inspect", "--tls-verify=false", "--creds", login, "docker://"+u.Host()+"/"+image)
		return err
	}
	require.NoError(t, pull("team/app:1", "alice:a:1"))
	require.NotZero(t, u.Tokens.Count("GET", "scope=repository%3Ateam%2Fapp%3Apull"))
	require.Error(t, pull("other/app:1", "alice:a:1"), "out of scope")
	require.Error(t, pull("team/app:1", "alice:a"), "wrong password")
	require.Error(t, pull("team/app:1", ":"), "anonymous")

	resp, err := http.Get(u.URL() + "/v2/team/app/manifests/1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 401, resp.StatusCode)
	require.Contains(t, resp.Header.Get("WWW-Authenticate"), u.Tokens.Realm())
}

func TestOpenUpstreamTakesAllKindsOfImages(t *testing.T) {
	t.Parallel()
	u := NewOpenUpstream(t)
	u.Push(t, "a/docker:1", Image(t, 10))
	u.Push(t, "a/oci:1", OCIImage(t, 10))
	u.Push(t, "a/index:1", Index(t, 10))
	for _, image := range []string{"a/docker:1", "a/oci:1", "a/index:1"} {
		_, err := remote.Get(u.Ref(t, image))
		require.NoError(t, err)
	}
}

func TestFrontPlaysFaults(t *testing.T) {
	t.Parallel()
	content := make([]byte, 100)
	f := NewFront(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(content)
	}), nil)
	get := func() (int, []byte, error) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(f.URL() + "/x?y=1")
		if err != nil {
			return 0, nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, body, err
	}
	during := func(fault Fault) (int, []byte, error) {
		in := f.Inject("GET", "^/x", fault)
		defer in.Remove()
		return get()
	}

	_, body, err := get()
	require.NoError(t, err)
	require.Equal(t, content, body)

	_, _, err = during(Drop())
	require.Error(t, err)
	status, _, err := during(Status(429, "Retry-After", "1"))
	require.NoError(t, err)
	require.Equal(t, 429, status)
	_, body, err = during(CutAfter(40))
	require.Error(t, err)
	require.Len(t, body, 40)
	_, body, err = during(Corrupt())
	require.NoError(t, err)
	require.Equal(t, byte(0xff), body[0])
	released := make(chan struct{})
	close(released)
	_, body, err = during(WaitAfter(40, released))
	require.NoError(t, err)
	require.Equal(t, content, body)

	require.Equal(t, 6, f.Count("GET", "^/x[?]y=1$"))
	f.Forget()
	require.Zero(t, f.Count("", ""))

	f.Stop()
	_, _, err = get()
	require.Error(t, err)
	f.Start()
	_, _, err = get()
	require.NoError(t, err)
}

func TestClientsPullStraightFromTheUpstream(t *testing.T) {
	t.Parallel()
	u := NewUpstream(t, WithUsers(map[string]User{"": {Repositories: []string{"podman/*"}}}))
	u.Push(t, "podman/hello:latest", Image(t, 100, 200))
	Podman(t).Pull(u.Host() + "/podman/hello:latest")
	Buildah(t).Pull(u.Host() + "/podman/hello:latest")
	Skopeo(t).Copy(u.Host()+"/podman/hello:latest", "--src-tls-verify=false")
}
