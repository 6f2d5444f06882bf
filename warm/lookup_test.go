package warm

import (
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func TestRunOfAnIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		entry := func(tag, platform string) v1.Descriptor {
			d := f.image(t, "quay.io/a", tag, f.blob([]byte("layer of "+tag)))
			if platform != "" {
				d.Platform = entries(platform)[0].Platform
			}
			return d
		}
		versioned := specs.Versioned{SchemaVersion: 2}
		inner := f.put(t, "quay.io/a", "inner", v1.MediaTypeImageIndex, v1.Index{
			Versioned: versioned, Manifests: []v1.Descriptor{entry("deep", "linux/amd64"), entry("deep-arm", "linux/arm64")},
		})
		f.put(t, "quay.io/a", "1", dockerIndex, v1.Index{Versioned: versioned, Manifests: []v1.Descriptor{
			entry("amd", "linux/amd64"), entry("arm", "linux/arm64/v8"), entry("attested", "unknown/unknown"), inner,
		}})
		one := f.run(t, Options{}, "quay.io/a:1").Images[0]
		require.NoError(t, one.Err)
		require.Equal(t, []string{"linux/amd64"}, one.Platforms)
		require.Equal(t, 4, one.Blobs, "two images of a config and a layer")

		two := f.run(t, Options{Platforms: []Platform{amd64[0], {"linux", "s390x", ""}}}, "quay.io/a:1").Images[0]
		require.NoError(t, two.Err)
		require.Equal(t, []string{"there is nothing for linux/s390x", "there is nothing for linux/s390x"}, two.Notes)

		report, err := Run(t.Context(), f.connect(), parse(t, "quay.io/a:1"), Options{})
		require.NoError(t, err)
		require.Equal(t, 10, report.Images[0].Blobs)
		require.Equal(t, []string{"linux/amd64", "linux/arm64/v8", "linux/arm64"}, report.Images[0].Platforms)
	})
}

func TestRunOfUnusualManifests(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob([]byte("layer"))
		foreign := v1.Descriptor{
			MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: f.blob([]byte("windows")).Digest, Size: 7,
			URLs: []string{"https://mcr.microsoft.com/x"},
		}
		f.image(t, "quay.io/windows", "1", foreign, layer)
		f.put(t, "quay.io/artifact", "1", "application/vnd.example+json", map[string]any{"schemaVersion": 2, "blobs": []v1.Descriptor{layer, layer}})
		f.put(t, "quay.io/empty", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []v1.Descriptor{f.blob(nil)}})
		f.put(t, "quay.io/old", "1", "application/vnd.docker.distribution.manifest.v1+json", map[string]any{"schemaVersion": 1})
		f.put(t, "quay.io/bad", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []any{map[string]any{"digest": "../../etc", "size": 1}}})
		f.put(t, "quay.io/negative", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []any{map[string]any{"digest": someDigest, "size": -1}}})
		f.put(t, "quay.io/text", "1", v1.MediaTypeImageManifest, "text")
		self := f.put(t, "quay.io/lost", "1", v1.MediaTypeImageIndex, map[string]any{"manifests": []any{map[string]any{"digest": someDigest, "size": 1}}})
		f.manifests["quay.io/other "+self.Digest.String()] = []byte("{}")

		report := f.run(t, Options{}, "quay.io/windows:1", "quay.io/artifact:1", "quay.io/empty:1", "quay.io/old:1",
			"quay.io/bad:1", "quay.io/negative:1", "quay.io/text:1", "quay.io/lost:1", "quay.io/other@"+self.Digest.String())
		var errs []string
		for _, image := range report.Images {
			text := ""
			if image.Err != nil {
				text = image.Err.Error()
			}
			errs = append(errs, text)
		}
		require.Equal(t, []string{"", "", ""}, errs[:3])
		require.Equal(t, 2, report.Images[0].Blobs)
		require.Contains(t, report.Images[0].Notes[0], "1 foreign layer")
		require.Equal(t, 1, report.Images[1].Blobs)
		require.Contains(t, errs[3], "schema 1")
		require.Contains(t, errs[4], `names "../../etc"`)
		require.Contains(t, errs[5], "has -1 bytes")
		require.Contains(t, errs[6], "can't be read")
		require.Contains(t, errs[7], "manifest sha256:e3b0c44298fc: 404 Not Found")
		require.Contains(t, errs[8], "is not "+self.Digest.String())
	})
}

// An index that lists itself over and over under other names ends, too.
func TestRunOfAnEndlessIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		d := f.image(t, "quay.io/a", "bottom", f.blob([]byte("x")))
		for range maxDepth + 2 {
			d = f.put(t, "quay.io/a", "1", v1.MediaTypeImageIndex, v1.Index{Manifests: []v1.Descriptor{d}})
		}
		require.ErrorContains(t, f.run(t, Options{}, "quay.io/a:1").Images[0].Err, "deeper")
	})
}
