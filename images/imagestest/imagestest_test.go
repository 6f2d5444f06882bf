package imagestest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func TestStoreIsAsSpecified(t *testing.T) {
	for name, spec := range map[string]Spec{
		"nothing":   {},
		"plain":     OfBlobs(250),
		"shared":    {Images: 25, Layers: 2, Shared: 3, Upstream: "docker.io"},
		"platforms": {Images: 25, Layers: 1, Shared: 1, Platforms: 3},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			s := Make(t, t.TempDir(), spec)
			v, err := s.Take(context.Background())
			require.NoError(t, err)
			require.NoError(t, v.Relate(context.Background()))
			require.Len(t, v.Blobs, spec.Blobs())
			tagged := 0
			for i, repo := range v.Repositories {
				tags, err := v.Tagged(repo)
				require.NoError(t, err)
				tagged += len(tags)
				require.Contains(t, repo, spec.complete().Upstream+"/org0/app", i)
			}
			if spec.Platforms > 0 {
				require.Equal(t, spec.indexes(), tagged)
			} else {
				require.Equal(t, spec.Images, tagged)
			}
			for _, m := range v.Manifests {
				require.Zero(t, m.Missing)
			}
			for _, l := range v.Links {
				repo := v.Repositories[l.Repository]
				for _, n := range v.NeedsOf(l.Blob) {
					d := v.Digest(n.To)
					require.True(t, s.HasLink(repo, images.Layer, d) || s.HasLink(repo, images.Manifest, d))
				}
			}
			for _, b := range v.Blobs {
				require.Less(t, b.Landed, start.Add(-59*time.Minute).UnixNano())
				require.LessOrEqual(t, b.Used, b.Landed)
			}
		})
	}
}
