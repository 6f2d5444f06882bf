package images

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

func FuzzIsDigestIsValidate(f *testing.F) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		d := alg.FromString("x")
		f.Add(alg.String(), d.Encoded())
		f.Add(alg.String(), d.Encoded()[1:])
		f.Add(alg.String(), d.Encoded()[1:]+"A")
		f.Add(alg.String(), d.Encoded()[1:]+"g")
		f.Add("md5", d.Encoded())
	}
	f.Add("md5", "") // of an unknown algorithm nothing is long enough
	f.Add("", "")
	f.Fuzz(func(t *testing.T, alg, encoded string) {
		want := digest.Algorithm(alg).Validate(encoded) == nil
		require.Equal(t, want, isDigest(alg, encoded))
		k, ok := keyOf(digest.Digest(alg + ":" + encoded))
		require.Equal(t, want, ok)
		if ok && alg == "sha256" {
			require.Equal(t, "sha256:"+encoded, (&keys{}).digest(k).String())
		}
	})
}
