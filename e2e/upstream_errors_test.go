package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// What goes wrong upstream reaches the client as an error of the OCI
// specification that names the upstream and the cause, with a status on which
// clients turn to another source.
func TestUpstreamErrors(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct {
		fail   func(*harness.Upstream)
		status int
		code   string
		says   []string
	}{
		"unknown": {func(*harness.Upstream) {}, 404, "MANIFEST_UNKNOWN", []string{"404"}},
		"wrong password": {func(u *harness.Upstream) { u.Tokens.RemoveUser("robot") },
			403, "DENIED", []string{"401", "credentials"}},
		"forbidden": {func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(403)) },
			403, "DENIED", []string{"403"}},
		"rate limit": {func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(429, "Retry-After", "77")) },
			429, "TOOMANYREQUESTS", []string{"429", "1m17s"}},
		"unavailable": {func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(503)) },
			503, "UNAVAILABLE", []string{"503"}},
		"unreachable": {func(u *harness.Upstream) { u.Stop() }, 503, "UNAVAILABLE", []string{"connection refused"}},
		"token server unreachable": {func(u *harness.Upstream) { u.Tokens.Stop() },
			503, "UNAVAILABLE", []string{"connection refused"}},
		"token server broken": {func(u *harness.Upstream) { u.Tokens.Inject("", "", harness.Status(500)) },
			503, "UNAVAILABLE", []string{"500"}},
		"dropping": {func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Drop()) },
			503, "UNAVAILABLE", nil},
		"nonsense": {func(u *harness.Upstream) { u.Inject("", "/manifests/", harness.Status(200)) },
			502, "UPSTREAM_INVALID", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := harness.NewUpstream(t)
			if name != "unknown" {
				u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
			}
			try.fail(u)
			a := harness.Cache(t, u)
			answer := a.HTTP(t).Must(http.MethodGet, manifestPath)
			require.Equal(t, try.status, answer.Status, "%s", answer.Body)
			message := answer.Error(t, try.code)
			for _, part := range append(try.says, "quay.io") {
				require.Contains(t, message, part)
			}
			require.Contains(t, answer.Header.Get("Cache-Status"), "failed")
			require.NotContains(t, message, "pass:w0rd")
			if try.status == 429 {
				require.Equal(t, "77", answer.Header.Get("Retry-After"))
			}
			// HEAD is the same without the words.
			head := a.HTTP(t).Must(http.MethodHead, manifestPath)
			require.Equal(t, try.status, head.Status)
			require.Empty(t, head.Body)
		})
	}
}

// An upstream that never answers doesn't hold clients for ever.
func TestHangingUpstream(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Inject("", "/manifests/", harness.Hang())
	a := harness.Cache(t, u)
	message := a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusServiceUnavailable, "UNAVAILABLE")
	require.Contains(t, message, "quay.io")
}

// One failing upstream is no trouble for another.
func TestFailingUpstreamLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	good, bad := harness.NewOpenUpstream(t), harness.NewOpenUpstream(t)
	good.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	bad.Inject("", "", harness.Hang())
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{
		"quay.io": good.Settings(), "bad.example": bad.Settings(),
	}})
	hanging := make(chan struct{})
	for range 40 {
		c := a.HTTP(t)
		go func() {
			resp, err := c.Open(http.MethodGet, "/v2/bad.example/podman/hello/manifests/latest")
			if err == nil {
				_ = resp.Body.Close()
			}
			hanging <- struct{}{}
		}()
	}
	harness.Eventually(t, func() bool { return bad.Count("", "") > 0 }, "the bad upstream is asked")
	harness.Podman(t).Pull(a.Addr + "/quay.io/podman/hello:latest")
	bad.Stop()
	for range 40 {
		<-hanging
	}
}

// A blob is never given out whole when its bytes are wrong, and a transfer
// that breaks off is never ended cleanly, or clients would keep it.
func TestBrokenBlobTransfers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]harness.Fault{
		"wrong bytes": harness.Corrupt(),
		"forbidden":   harness.Status(403),
		"gone":        harness.Status(404),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := harness.NewUpstream(t)
			img := harness.Image(t, 300_000)
			u.Push(t, "podman/hello:latest", img)
			layer, content := harness.Layer(t, img, 0)
			in := u.Inject(http.MethodGet, "/blobs/"+layer, fault)
			a := harness.Cache(t, u)
			path := "/v2/quay.io/podman/hello/blobs/" + layer
			answer, err := a.HTTP(t).Do(http.MethodGet, path)
			require.True(t, err != nil || answer.Status != http.StatusOK, "%d, %d bytes", answer.Status, len(answer.Body))
			_, err = harness.Skopeo(t).Do("inspect", "--raw", "--tls-verify=false", "docker://"+a.Addr+"/quay.io/podman/hello:latest")
			require.NoError(t, err)

			in.Remove()
			harness.Eventually(t, func() bool {
				answer, err := a.HTTP(t).Do(http.MethodGet, path)
				return err == nil && answer.Status == http.StatusOK && string(answer.Body) == string(content)
			}, "it recovers with the upstream")
		})
	}
}

// A connection that breaks midway is resumed; the client notices nothing.
func TestCutBlobIsResumed(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3_000_000)
	u.Push(t, "podman/hello:latest", img)
	layer, content := harness.Layer(t, img, 0)
	in := u.Inject(http.MethodGet, "/blobs/"+layer, harness.CutAfter(1_000_000))
	a := harness.Cache(t, u)
	go func() {
		harness.Within(harness.Patience, func() bool { return u.Count(http.MethodGet, "/blobs/"+layer) > 0 })
		in.Remove()
	}()
	require.Equal(t, content, a.HTTP(t).Get("/v2/quay.io/podman/hello/blobs/"+layer).Body)
}
