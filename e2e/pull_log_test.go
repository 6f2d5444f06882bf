package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// pulled is the line of a pull.
type pulled struct {
	Process, Level, Message                      string
	Image, Digest, Upstream, Cache, Client, User string
	Bytes                                        int64
	Duration                                     float64
	Requests, Times                              int
}

// pulls are the lines of pulls so far. Where a client stalled for seconds, as
// clients of a busy machine do, the rest of its pull has a line of its own, which
// is put to the first.
func pulls(t *testing.T, a *harness.Appliance) []pulled {
	t.Helper()
	var all []pulled
	for text := range strings.Lines(a.Output()) {
		if strings.Contains(text, `"message":"pulled"`) {
			var line pulled
			require.NoError(t, json.Unmarshal([]byte(text), &line), text)
			if line.Times > 0 {
				all = append(all, line)
				continue
			}
			first := &all[len(all)-1]
			require.Equal(t, first.Image, line.Image)
			first.Bytes += line.Bytes
			first.Requests += line.Requests
			if line.Cache == "miss" {
				first.Cache = line.Cache
			}
		}
	}
	return all
}

// sent are the bytes that clients were sent of the repositories so far.
func sent(t *testing.T, a *harness.Appliance) int64 {
	t.Helper()
	return int64(a.Metric(t, "registry_cache_sent_bytes_total", "upstream", "quay.io"))
}

// Whatever the client, a pull is one line, which says what the cache did for it.
func TestOneLineForEachPull(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hello, multi := harness.Image(t, 30_000, 20_000), harness.Index(t, 4000)
	u.Push(t, "podman/hello:latest", hello)
	u.Push(t, "podman/multi:1", multi)
	a := harness.Cache(t, u)
	skopeo, podman := harness.Skopeo(t), harness.Podman(t)

	// pull is what a client did, and its line.
	done := 0
	pull := func(how func()) pulled {
		t.Helper()
		how()
		done++
		var all []pulled
		harness.Eventually(t, func() bool {
			all = pulls(t, a)
			told := int64(0)
			for _, line := range all {
				told += line.Bytes
			}
			return told == sent(t, a)
		}, "every byte is in a line")
		require.Len(t, all, done)
		line := all[done-1]
		require.Equal(t, "router", line.Process)
		require.Equal(t, "info", line.Level)
		require.Equal(t, "quay.io", line.Upstream)
		require.Equal(t, "127.0.0.1", line.Client)
		require.Equal(t, 1, line.Times)
		require.Positive(t, line.Duration)
		return line
	}
	withSkopeo := func() { skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false") }
	withPodman := func() { podman.Pull(a.Addr + "/quay.io/podman/multi:1") }

	first := pull(withSkopeo)
	require.Equal(t, "quay.io/podman/hello:latest", first.Image)
	require.Equal(t, harness.Digest(t, hello), first.Digest)
	require.Equal(t, "miss", first.Cache)
	require.Equal(t, 4, first.Requests, "a manifest, a config and two layers")
	require.Equal(t, storedBytes(t, a, harness.Digest(t, hello)), first.Bytes)

	second := pull(withSkopeo)
	require.Equal(t, "hit", second.Cache)
	require.Equal(t, first.Bytes, second.Bytes)
	require.Equal(t, harness.Digest(t, hello), second.Digest)

	index := pull(withPodman)
	require.Equal(t, "quay.io/podman/multi:1", index.Image)
	require.Equal(t, harness.Digest(t, multi), index.Digest)
	require.Equal(t, "miss", index.Cache)

	u.Stop()
	stale := pull(withSkopeo)
	require.Equal(t, "stale", stale.Cache)
	require.Equal(t, first.Bytes, stale.Bytes)
	byDigest := pull(func() {
		skopeo.Copy(a.Addr+"/quay.io/podman/hello@"+harness.Digest(t, hello), "--src-tls-verify=false")
	})
	require.Equal(t, "quay.io/podman/hello@"+harness.Digest(t, hello), byDigest.Image)
	require.Equal(t, "hit", byDigest.Cache, "there is nothing to check")

	a.HTTP(t).Must(http.MethodHead, manifestPath)
	a.Stop()
	require.Len(t, pulls(t, a), done, "a look is no pull")
}

// storedBytes is what a pull of an image takes: the manifest and all it lists.
func storedBytes(t *testing.T, a *harness.Appliance, manifest string) (size int64) {
	t.Helper()
	layers, err := filepath.Glob(filepath.Join(a.Store(), "docker/registry/v2/blobs/sha256/*/*/data"))
	require.NoError(t, err)
	for _, path := range layers {
		info, err := os.Stat(path)
		require.NoError(t, err)
		size += info.Size()
	}
	require.Contains(t, strings.Join(layers, " "), strings.TrimPrefix(manifest, "sha256:"))
	return size
}

// A pull that is open when the cache is stopped is in the log.
func TestPullIsLoggedAtTheEnd(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Cache(t, u)
	a.HTTP(t).Get(manifestPath)
	a.Stop()
	require.Len(t, pulls(t, a), 1)
}

// For a person it is in words.
func TestPullOnTheConsole(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"LOG_FORMAT": "console", "LOG_LEVEL": "debug"},
	})
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	line := a.WaitLog("INF pulled quay.io/podman/hello:latest miss ")
	require.Regexp(t, `^\d\d:\d\d:\d\d INF pulled quay\.io/podman/hello:latest miss [\d.]+ KiB in [\d.]+m?s client=127\.0\.0\.1 digest=[0-9a-f]{12} \(router\)\n$`, line)
	require.Contains(t, a.LogLine("from=distribution"), "(worker quay.io)", "what distribution logs is among the rest")
	require.NotContains(t, a.Output(), "\x1b", "this is no terminal")
}
