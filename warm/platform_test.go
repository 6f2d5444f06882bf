package warm

import (
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func entries(platforms ...string) []v1.Descriptor {
	var all []v1.Descriptor
	for _, text := range platforms {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest}
		if text != "" {
			p, err := ParsePlatform(text)
			if err != nil {
				panic(err)
			}
			d.Platform = &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
		}
		all = append(all, d)
	}
	return all
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		there, wanted []string
		chosen        []int
		missing       int
	}{
		"one of several":                       {[]string{"linux/amd64", "linux/arm64", "unknown/unknown"}, []string{"linux/arm64"}, []int{1}, 0},
		"several":                              {[]string{"linux/amd64", "linux/arm64", "linux/s390x"}, []string{"linux/s390x", "linux/amd64"}, []int{0, 2}, 0},
		"v8 is what arm64 means":               {[]string{"linux/amd64", "linux/arm64/v8"}, []string{"linux/arm64"}, []int{1}, 0},
		"and the other way round":              {[]string{"linux/amd64", "linux/arm64"}, []string{"linux/arm64/v8"}, []int{1}, 0},
		"v7 is what arm means":                 {[]string{"linux/arm/v5", "linux/arm/v7", "linux/arm/v6"}, []string{"linux/arm"}, []int{1}, 0},
		"the best that still runs":             {[]string{"linux/arm/v5", "linux/arm/v7", "linux/arm/v6"}, []string{"linux/arm/v6"}, []int{2}, 0},
		"a lower one does":                     {[]string{"linux/arm/v5", "linux/amd64"}, []string{"linux/arm/v7"}, []int{0}, 0},
		"no higher one than asked for":         {[]string{"linux/amd64", "linux/amd64/v3"}, []string{"linux/amd64"}, []int{0}, 0},
		"unless asked for":                     {[]string{"linux/amd64", "linux/amd64/v3"}, []string{"linux/amd64/v4"}, []int{1}, 0},
		"all versions of windows":              {[]string{"windows/amd64", "windows/amd64", "linux/amd64"}, []string{"windows/amd64"}, []int{0, 1}, 0},
		"one of two is missing":                {[]string{"linux/amd64"}, []string{"linux/amd64", "linux/arm64"}, []int{0}, 1},
		"no entry says what it is for":         {[]string{"", ""}, []string{"linux/amd64"}, []int{0, 1}, 1},
		"what does not say so is left out":     {[]string{"", "linux/amd64"}, []string{"linux/amd64"}, []int{1}, 0},
		"other kinds of variants are compared": {[]string{"linux/mips/r2", "linux/mips/r6"}, []string{"linux/mips/r6"}, []int{1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			there := entries(c.there...)
			var platforms []Platform
			for _, text := range c.wanted {
				p, err := ParsePlatform(text)
				require.NoError(t, err)
				platforms = append(platforms, p)
			}
			got, err := choose(there, platforms)
			require.NoError(t, err)
			var want []v1.Descriptor
			for _, i := range c.chosen {
				want = append(want, there[i])
			}
			require.Equal(t, want, got.chosen)
			require.Len(t, got.missing, c.missing)
		})
	}
}

func TestChooseAll(t *testing.T) {
	there := entries("linux/amd64", "unknown/unknown", "")
	got, err := choose(there, nil)
	require.NoError(t, err)
	require.Equal(t, there, got.chosen)
}

func TestChooseSaysWhatThereIs(t *testing.T) {
	_, err := choose(entries("linux/amd64", "linux/arm/v7", "unknown/unknown"), []Platform{{"linux", "s390x", ""}})
	require.EqualError(t, err, "there is nothing for linux/s390x; there is linux/amd64, linux/arm/v7")
}

func TestParsePlatform(t *testing.T) {
	p, err := ParsePlatform("Linux/aarch64")
	require.NoError(t, err)
	require.Equal(t, Platform{OS: "linux", Architecture: "arm64"}, p)
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux amd64"} {
		_, err := ParsePlatform(bad)
		require.ErrorContains(t, err, "linux/amd64", bad)
	}
	_, err = ParsePlatform(ThisMachine().String())
	require.NoError(t, err)
}
