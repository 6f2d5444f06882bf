package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

// pushedStore is the store of pushed images beside a cachedStore.
func pushedStore(t *testing.T) *images.Store {
	t.Helper()
	s, err := images.Open(images.HostedDir(os.Getenv("REGISTRYDIR")))
	require.NoError(t, err)
	return s
}

func TestPushedImagesAreListed(t *testing.T) {
	cached(t, cachedStore(t), "quay.io/podman/hello", "layer", 100, 3, "latest")
	pushed := pushedStore(t)
	cached(t, pushed, "local/team/app", "app", 10, 3, "1")
	blob(t, pushed, "left by a push that broke off", 1, 1)

	out, err := execute(t, "images", "local/team/app")
	require.NoError(t, err)
	require.Regexp(t, `local/team/app +1 .* pushed +yes\n`, out)
	require.NotContains(t, out, "quay.io")
	require.Equal(t, []string{"local/team/app:1", "quay.io/podman/hello:latest"}, listed(t))
	require.Equal(t, []string{"local/team/app:1"}, listed(t, "local"))
	require.Equal(t, []string{"local/team/app:1"}, listed(t, "cache.example.com:8443/local/team/app:1"))

	out, err = execute(t, "images", "--json", "local/team/app")
	require.NoError(t, err)
	var got struct {
		Images []imageJSON
		Totals totalsJSON
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.True(t, got.Images[0].Pushed)
	require.Empty(t, got.Images[0].Upstream)
	require.Equal(t, "local/team/app", got.Images[0].Repository)
	require.Equal(t, 3, got.Totals.Blobs)
	require.Equal(t, totalsJSON{Images: 1, Blobs: 4, Bytes: 24 << 10, LooseBlobs: 1, LooseBytes: 4 << 10}, *got.Totals.Pushed)

	_, err = execute(t, "images", "local/team/ap")
	require.ErrorContains(t, err, "did you mean local/team/app?")
}

func TestPushedImagesAreRemovedWithTheirGarbage(t *testing.T) {
	s := cachedStore(t)
	cached(t, s, "quay.io/podman/hello", "layer", 100, 3, "latest")
	pushed := pushedStore(t)
	cached(t, pushed, "local/team/app", "app", 10, 3, "1")
	cached(t, pushed, "local/team/other", "other", 20, 3, "1")
	blob(t, pushed, "left by a push that broke off", 1, 1)

	const names = "local/team/app:1\n"
	out, err := execute(t, "images", "rm", "--dry-run", "local/team/app:1")
	require.NoError(t, err)
	require.Equal(t, "would remove "+names+"would free 20 KiB in 3 blobs\n", out)
	require.Len(t, listed(t), 3)
	out, err = execute(t, "images", "rm", "local/team/app:1")
	require.NoError(t, err)
	require.Equal(t, "removed "+names+"freed 20 KiB in 3 blobs\n", out, "the config is shared")

	// One command takes of both, but never by a pattern that does not say so.
	_, err = execute(t, "images", "rm", "*/team/*")
	require.ErrorContains(t, err, "no image matches")
	out, err = execute(t, "images", "rm", "quay.io/*", "local/*")
	require.NoError(t, err)
	require.Contains(t, out, "freed 136 KiB in 6 blobs\n")
	require.Empty(t, listed(t))
}

func TestRemovalWaitsForPushes(t *testing.T) {
	cachedStore(t)
	pushed := pushedStore(t)
	cached(t, pushed, "local/team/app", "app", 10, 3, "1")
	release, err := pushed.Changing(t.Context())
	require.NoError(t, err)
	type result struct {
		out string
		err error
	}
	done := make(chan result)
	go func() {
		out, err := execute(t, "images", "rm", "local/team/app:1")
		done <- result{out, err}
	}()
	// What the push that is under way puts there is known to the removal.
	newer := cached(t, pushed, "local/team/app", "newer", 10, 3, "2")
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %v %s", r.err, r.out)
	default:
	}
	release()
	r := <-done
	require.NoError(t, r.err)
	require.Contains(t, r.out, "removed local/team/app:1\nfreed 16 KiB in 2 blobs\n", "the config is the newer image's, too")
	_, err = pushed.StatBlob(newer)
	require.NoError(t, err)
}
