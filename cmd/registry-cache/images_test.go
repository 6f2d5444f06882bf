package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

// cachedStore is REGISTRYDIR of a cache for docker.io, quay.io, which is also
// called q, and registry.lab:5000, where images are pushed below local.
func cachedStore(t *testing.T) *images.Store {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"pull-secret.json": `{"auths":{"docker.io":{},"quay.io":{},"registry.lab:5000":{}}}`,
		"config.yaml":      "upstreams: {quay.io: {aliases: [q]}}\nhosted: {prefix: local}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	t.Setenv("PULLSECRETPATH", filepath.Join(dir, "pull-secret.json"))
	t.Setenv("CONFIG_FILE", filepath.Join(dir, "config.yaml"))
	t.Setenv("REGISTRYDIR", filepath.Join(dir, "data"))
	t.Setenv("RUNDIR", filepath.Join(dir, "run"))
	s, err := images.Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	return s
}

// blob stores a blob of so many KiB, last used so many hours ago.
func blob(t *testing.T, s *images.Store, content string, kib, hours int) digest.Digest {
	t.Helper()
	d := digest.FromString(content)
	require.NoError(t, os.MkdirAll(filepath.Dir(s.BlobPath(d)), 0o755))
	padding := strings.Repeat(" ", max(0, kib<<10-len(content)))
	require.NoError(t, os.WriteFile(s.BlobPath(d), []byte(content+padding), 0o600))
	used := time.Now().Add(-time.Duration(hours) * time.Hour)
	require.NoError(t, os.Chtimes(s.BlobPath(d), used, used))
	return d
}

// cached stores an image with one layer, under tags.
func cached(t *testing.T, s *images.Store, repo, layer string, kib, hours int, tags ...string) digest.Digest {
	t.Helper()
	config, content := blob(t, s, `{"os":"linux","architecture":"amd64"}`, 1, hours), blob(t, s, layer, kib, hours)
	doc := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":%q},"layers":[{"digest":%q}]}`, config, content)
	for _, d := range []digest.Digest{config, content} {
		require.NoError(t, s.Link(repo, images.Layer, d))
	}
	d := blob(t, s, doc, 0, hours)
	require.NoError(t, s.Link(repo, images.Manifest, d))
	for _, tag := range tags {
		require.NoError(t, s.SetTag(repo, tag, d))
	}
	return d
}

func listed(t *testing.T, args ...string) (names []string) {
	t.Helper()
	out, err := execute(t, append([]string{"images", "--json"}, args...)...)
	require.NoError(t, err)
	var got struct{ Images []imageJSON }
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	for _, image := range got.Images {
		names = append(names, image.Name+":"+strings.Join(image.Tags, ","))
	}
	return names
}

func TestImagesOfAnEmptyStore(t *testing.T) {
	cachedStore(t)
	out, err := execute(t, "images")
	require.NoError(t, err)
	require.Contains(t, out, "Nothing is cached in ")
	require.Empty(t, listed(t))

	t.Setenv("REGISTRYDIR", filepath.Join(t.TempDir(), "none"))
	_, err = execute(t, "images")
	require.ErrorContains(t, err, "REGISTRYDIR says where it is")
}

func TestImagesTable(t *testing.T) {
	s := cachedStore(t)
	d := cached(t, s, "quay.io/podman/hello", "layer", 100, 3, "latest", "v1")
	other := cached(t, s, "docker.io/library/busybox", "other", 1, 30)
	out, err := execute(t, "images")
	require.NoError(t, err)
	require.Equal(t, strings.Join([]string{
		"NAME                       TAGS       DIGEST        PLATFORMS    SIZE     SHARED   LAST USED    COMPLETE",
		"docker.io/library/busybox  <none>     " + other.Encoded()[:12] + "  linux/amd64  12 KiB   4.0 KiB  1 day ago    yes",
		"quay.io/podman/hello       latest,v1  " + d.Encoded()[:12] + "  linux/amd64  108 KiB  4.0 KiB  3 hours ago  yes",
		"",
	}, "\n"), out)

	require.NoError(t, os.Remove(s.BlobPath(digest.FromString("layer"))))
	require.NoError(t, s.Link("quay.io/a", images.Manifest, blob(t, s, "\x1b[31m", 1, 1)))
	require.NoError(t, s.SetTag("quay.io/a", "\x1b[31m", digest.FromString("\x1b[31m")))
	out, err = execute(t, "images")
	require.NoError(t, err)
	require.Contains(t, out, "no: 1 blob missing")
	require.Contains(t, out, "no: the manifest can't be read")
	require.NotContains(t, out, "\x1b", "nothing that a terminal obeys")
}

func TestImagesOnATerminal(t *testing.T) {
	s := cachedStore(t)
	cached(t, s, "quay.io/podman/hello", "layer", 100, 3, "1", "2", "3", "4", "5")
	blob(t, s, "loose", 1, 1)
	screen, program := terminal(t)
	root := rootCommand()
	root.SetArgs([]string{"images"})
	root.SetOut(program)
	require.NoError(t, root.Execute())
	shown := ""
	const last = "1 image, 112 KiB in 4 blobs, 4.0 KiB of it in 1 blob of no image"
	for !strings.Contains(shown, last) {
		buffer := make([]byte, 4096)
		n, err := screen.Read(buffer)
		require.NoError(t, err, shown)
		shown += string(buffer[:n])
	}
	require.Contains(t, shown, " 1,2,3 +2 ")
}

func TestImagesJSON(t *testing.T) {
	s := cachedStore(t)
	d := cached(t, s, "registry.lab_5000/team/app", "layer", 100, 3, "v1")
	cached(t, s, "team/app", "other", 1, 5) // of another registry, without an upstream
	gone := cached(t, s, "gone.example/x", "more", 1, 5)
	index := fmt.Sprintf(`{"manifests":[{"digest":%q,"platform":{"os":"linux","architecture":"arm64"}},{"mediaType":"m","digest":%q}]}`,
		digest.FromString("none"), gone)
	require.NoError(t, s.Link("gone.example/x", images.Manifest, blob(t, s, index, 0, 1)))
	blob(t, s, "loose", 1, 1)

	out, err := execute(t, "images", "--json", "--sort=size")
	require.NoError(t, err)
	var got struct {
		Images []map[string]any
		Totals map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Len(t, got.Images, 3)
	used, err := time.Parse(time.RFC3339, got.Images[0]["lastUsed"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-3*time.Hour), used, time.Minute)
	delete(got.Images[0], "lastUsed")
	require.Equal(t, map[string]any{
		"name": "registry.lab_5000/team/app", "upstream": "registry.lab:5000", "repository": "team/app",
		"tags": []any{"v1"}, "digest": d.String(), "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"platforms": []any{"linux/amd64"}, "blobs": 3.0, "sizeBytes": 110592.0, "sharedBytes": 4096.0,
		"complete": true, "damaged": false, "pushed": false,
	}, got.Images[0])
	require.Equal(t, "gone.example", got.Images[1]["upstream"])
	require.Equal(t, []any{
		map[string]any{"digest": digest.FromString("none").String(), "mediaType": "", "platform": "linux/arm64", "cached": false},
		map[string]any{"digest": gone.String(), "mediaType": "m", "platform": "", "cached": true},
	}, got.Images[1]["children"])
	require.Equal(t, "", got.Images[2]["upstream"])
	require.Equal(t, []any{}, got.Images[2]["tags"])
	require.Equal(t, map[string]any{"images": 3.0, "blobs": 9.0, "bytes": 135168.0, "looseBlobs": 1.0, "looseBytes": 4096.0}, got.Totals)
}

func TestImagesAreSortedAndChosen(t *testing.T) {
	s := cachedStore(t)
	cached(t, s, "quay.io/podman/hello", "1", 300, 3, "latest")
	cached(t, s, "quay.io/podman/hello", "2", 100, 1, "v1")
	cached(t, s, "docker.io/library/busybox", "3", 200, 2, "latest")
	const busybox, latest, v1 = "docker.io/library/busybox:latest", "quay.io/podman/hello:latest", "quay.io/podman/hello:v1"
	for args, want := range map[string][]string{
		"":                                       {busybox, latest, v1},
		"--sort use":                             {v1, busybox, latest},
		"--sort size":                            {latest, busybox, v1},
		"--sort size --reverse":                  {v1, busybox, latest},
		"busybox":                                {busybox},
		"docker.io/busybox":                      {busybox},
		"index.docker.io/library/busybox:latest": {busybox},
		"q/podman/hello":                         {latest, v1},
		"cache.local:8443/quay.io/podman/hello":  {latest, v1},
		"localhost/busybox":                      {busybox},
		"quay.io/podman/hello:v1":                {v1},
		"quay.io/*":                              {latest, v1},
		"quay.io":                                {latest, v1},
		"q/podman":                               {latest, v1},
		"docker.io/library":                      {busybox},
		"*/podman/hello:v?":                      {v1},
		"q/*:v?":                                 {v1},
		"docker.io/busy*":                        {busybox},
		"docker.io/*:latest":                     {busybox},
		"quay.io/podman/hello:v1 busybox":        {busybox, v1},
	} {
		require.Equal(t, want, listed(t, strings.Fields(args)...), args)
	}
}

func TestImagesNames(t *testing.T) {
	s := cachedStore(t)
	d := cached(t, s, "quay.io/podman/hello", "1", 1, 3, "latest", "v1")
	child := cached(t, s, "quay.io/multi", "2", 1, 3)
	index := fmt.Sprintf(`{"manifests":[{"digest":%q}]}`, child)
	require.NoError(t, s.Link("quay.io/multi", images.Manifest, blob(t, s, index, 0, 1)))
	require.NoError(t, s.SetTag("quay.io/multi", "latest", digest.FromString(index)))
	for name, want := range map[string]string{
		"":                                      "names no repository",
		":v1":                                   "names no repository",
		"quay.io/podman/hello:":                 "ends where the tag should be",
		"quay.io/podman/hello@":                 "has no digest after the @",
		"quay.io/podman/hello@sha256:abc":       "six hex digits or more",
		"quay.io/podman/hello:v1@" + d.String(): "has a tag and a digest",
		"quay.io/*@" + d.String():               "is a pattern with a digest",
		"quay.io/[":                             "is not a pattern",
		"quay.io/Podman/hello":                  "lower case",
		"quay.io/../hello":                      "is not the name of an image",
		"quay.io/podman/hallo":                  "did you mean quay.io/podman/hello?",
		"ghcr.io/org/hello":                     "did you mean quay.io/podman/hello?",
		"quay.io/podman/hello:v2":               "of this repository there is quay.io/podman/hello:latest, quay.io/podman/hello:v1",
		"quay.io/podman/hello@sha256:0000000":   "of this repository there is",
		"quay.io/multi@" + child.String():       "is a part of quay.io/multi:latest and goes with it",
		"nothing/like/it/here":                  "registry-cache images shows what is",
		"ghcr.io/*":                             "no image matches",
	} {
		_, err := execute(t, "images", "--", name)
		require.ErrorContains(t, err, want, name)
		if name != "" {
			_, err = execute(t, "images", "rm", "--", "quay.io/podman/hello", name)
			require.ErrorContains(t, err, want, name)
		}
	}
	require.Len(t, listed(t), 2, "nothing is removed unless all names are known")

	_, err := execute(t, "images", "--sort", "age")
	require.ErrorContains(t, err, "write name, use or size")
}

func TestImagesRemove(t *testing.T) {
	s := cachedStore(t)
	cached(t, s, "quay.io/podman/hello", "layer", 100, 3, "latest", "v1")
	untagged := cached(t, s, "docker.io/library/busybox", "other", 1, 30)
	hosted, err := images.Open(images.HostedDir(os.Getenv("REGISTRYDIR")))
	require.NoError(t, err)
	cached(t, hosted, "local/team/app", "pushed", 1, 1, "latest")

	out, err := execute(t, "images", "rm", "--dry-run", "quay.io/podman/*", "busybox@sha256:"+untagged.Encoded()[:12])
	require.NoError(t, err)
	require.Equal(t, "would remove quay.io/podman/hello:latest\nwould remove quay.io/podman/hello:v1\n"+
		"would remove docker.io/library/busybox@"+untagged.String()+"\nwould free 116 KiB in 5 blobs\n", out)
	require.Len(t, listed(t), 3)

	out, err = execute(t, "images", "rm", "q/podman/hello")
	require.NoError(t, err)
	require.Equal(t, "removed the tag quay.io/podman/hello:latest; the image stays, it is also tagged v1\nfreed 0 B in 0 blobs\n", out)
	out, err = execute(t, "images", "rm", "quay.io/podman/hello:v1", "docker.io/busybox@"+untagged.String())
	require.NoError(t, err)
	require.Contains(t, out, "freed 116 KiB in 5 blobs\n")
	require.Equal(t, []string{"local/team/app:latest"}, listed(t))

	_, err = execute(t, "images", "rm", "*")
	require.ErrorContains(t, err, "no image matches", "what was pushed must be named")
	_, err = execute(t, "images", "rm", "local")
	require.ErrorContains(t, err, "local:latest is not cached", "only a pattern takes more than one image")
	_, err = execute(t, "images", "rm", "local/*")
	require.NoError(t, err)
	require.Empty(t, listed(t))
	_, err = execute(t, "images", "rm")
	require.ErrorContains(t, err, "at least 1 arg")
}

func TestImagesRemoveWantsMoreDigits(t *testing.T) {
	s := cachedStore(t)
	// Two digests that begin alike.
	first := map[string]string{}
	for i := 0; ; i++ {
		content := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"n":%d}`, i)
		hex := digest.FromString(content).Encoded()[:6]
		other, found := first[hex]
		if !found {
			first[hex] = content
			continue
		}
		for _, content := range []string{content, other} {
			require.NoError(t, s.Link("quay.io/a", images.Manifest, blob(t, s, content, 0, 1)))
		}
		_, err := execute(t, "images", "rm", "quay.io/a@"+hex)
		require.ErrorContains(t, err, "stands for 2 images")
		require.Len(t, listed(t, "quay.io/a@"+hex), 2)
		return
	}
}

func FuzzImageName(f *testing.F) {
	for _, seed := range []string{
		"quay.io/podman/hello:latest", "busybox", "localhost:5000/a@sha256:3f6b2c1a9d0e", "quay.io/*:v[1-3]", "@", ":", "/", "a//b", "[::1]:5000/a",
	} {
		f.Add(seed)
	}
	names := newImageNames(&config.Config{
		DefaultRegistry: "docker.io",
		Upstreams:       []config.Upstream{{Name: "docker.io", Path: "docker.io"}, {Name: "quay.io", Path: "quay.io", Aliases: []string{"q"}}},
	})
	list := []images.Image{{Repository: "quay.io/podman/hello", Tags: []string{"latest"}, Digest: digest.FromString("x")}}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := names.parse(text)
		if err != nil {
			return
		}
		require.True(t, name.patterns != nil || len(name.repositories) > 0)
		for _, repo := range name.repositories {
			require.NotContains(t, repo, "..")
			require.False(t, strings.HasPrefix(repo, "/"))
		}
		_ = name.match(list)
	})
}
