package warm

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testCache  = "cache.local:8443"
	someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestParse(t *testing.T) {
	names := Names{Cache: testCache}
	for text, want := range map[string][2]string{
		"quay.io/podman/hello:latest":        {"quay.io/podman/hello", "latest"},
		"quay.io/podman/hello":               {"quay.io/podman/hello", "latest"},
		"quay.io/podman/hello@" + someDigest: {"quay.io/podman/hello", someDigest},
		// The digest is what a client pulls.
		"quay.io/podman/hello:v1@" + someDigest: {"quay.io/podman/hello", someDigest},
		"docker://quay.io/podman/hello:v1":      {"quay.io/podman/hello", "v1"},
		// The cache resolves names without a registry.
		"hello-world":                                             {"hello-world", "latest"},
		"bitnami/nginx:1.27":                                      {"bitnami/nginx", "1.27"},
		"docker.io/hello-world":                                   {"docker.io/hello-world", "latest"},
		"registry.lab:5000/a/b:V1":                                {"registry.lab_5000/a/b", "V1"},
		"localhost:5000/a":                                        {"localhost_5000/a", "latest"},
		"Quay.IO/podman/hello":                                    {"quay.io/podman/hello", "latest"},
		"registry.lab_5000/a/b":                                   {"registry.lab_5000/a/b", "latest"},
		testCache + "/quay.io/a/b":                                {"quay.io/a/b", "latest"},
		"CACHE.local:8443/q/hello":                                {"q/hello", "latest"},
		testCache + "/hello":                                      {"hello", "latest"},
		"https://quay.io/v2/podman/hello/manifests/latest":        {"quay.io/podman/hello", "latest"},
		"https://quay.io/v2/podman/hello/manifests/" + someDigest: {"quay.io/podman/hello", someDigest},
		"http://registry.lab:5000/v2/a/manifests/1":               {"registry.lab_5000/a", "1"},
		"https://" + testCache + "/v2/quay.io/podman/hello/manifests/latest":    {"quay.io/podman/hello", "latest"},
		"https://" + testCache + "/v2/podman/hello/manifests/latest?ns=quay.io": {"quay.io/podman/hello", "latest"},
		"https://quay.io/v2/manifests/manifests/latest":                         {"quay.io/manifests", "latest"},
	} {
		image, err := names.Parse(text)
		if assert.NoError(t, err, text) {
			assert.Equal(t, Image{Name: text, Repository: want[0], Reference: want[1]}, image)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, says := range map[string]string{
		"":                            "is empty",
		"quay.io/Podman/hello":        "capitals",
		"Library/hello":               "capitals",
		"quay.io/a b":                 "blank",
		"quay.io/a@sha256:12":         "sha256:<64 hex digits>",
		"quay.io/a@md5:" + someDigest: "sha256:<64 hex digits>",
		"quay.io/":                    "not the name of an image",
		"oci:///tmp/x":                "oci:// is not where a registry's images are",
		"[::1]:5000/a":                "IPv6",
		"https://quay.io/repository/podman/hello":             "not the URL of a manifest",
		"https://quay.io/v2/podman/hello/blobs/" + someDigest: "not the URL of a manifest",
		"docker://me:hidden@quay.io/b":                        "docker://...@quay.io/b",
		"https://me:hidden@quay.io/v2/a/manifests/latest":     "leave them out",
		"quay.io/" + strings.Repeat("a/", 200) + "a":          "such as quay.io/podman/hello:latest",
		"-f": "not the name of an image",
	} {
		_, err := Names{}.Parse(text)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), says, text)
			assert.NotContains(t, err.Error(), "hidden")
		}
	}
}

func TestReadList(t *testing.T) {
	const list = "\ufeff# what the site needs\r\n\n" +
		"quay.io/podman/hello:latest   # says hello\r\n" +
		"\t https://quay.io/v2/a/manifests/1\n" +
		"  # indented\n" +
		"hello-world"
	images, err := Names{}.ReadList(strings.NewReader(list), "images.txt")
	require.NoError(t, err)
	require.Equal(t, []Image{
		{"quay.io/podman/hello:latest", "quay.io/podman/hello", "latest"},
		{"https://quay.io/v2/a/manifests/1", "quay.io/a", "1"},
		{"hello-world", "hello-world", "latest"},
	}, images)
}

func TestReadListReportsEveryLine(t *testing.T) {
	list := "quay.io/a\nquay.io/B\n\nftp://x\n" + strings.Repeat("x", maxLine+1) + "\n"
	_, err := Names{}.ReadList(strings.NewReader(list), "images.txt")
	var all *multierror.Error
	require.True(t, errors.As(err, &all))
	require.Len(t, all.Errors, 3)
	require.Contains(t, all.Errors[0].Error(), `images.txt:2: "quay.io/B"`)
	require.Contains(t, all.Errors[1].Error(), `images.txt:4: "ftp://x"`)
	require.Contains(t, all.Errors[2].Error(), "images.txt:5: the line is longer than 4 KiB")
}

func TestDistinct(t *testing.T) {
	a, again, b := Image{"a", "quay.io/a", "latest"}, Image{"docker://a", "quay.io/a", "latest"}, Image{"b", "quay.io/a", "1"}
	require.Equal(t, []Image{a, b}, Distinct([]Image{a, again, b, a}))
}

// Whatever a list holds, what comes out names a manifest and nothing else.
func FuzzReadList(f *testing.F) {
	for _, seed := range []string{
		"quay.io/podman/hello:latest", "docker://a@" + someDigest, "https://quay.io/v2/a/b/manifests/1?ns=x", "# c\n\na #b",
		testCache + "/q/../x", "https://h/v2/../../etc/manifests/%2e%2e", "a:b:c/d", "\ufeffx\r\n", "[::1]/a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		images, err := Names{Cache: testCache}.ReadList(strings.NewReader(list), "x")
		for _, image := range images {
			path := "/v2/" + image.Repository + "/manifests/" + image.Reference
			require.Regexp(t, `^/v2/[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*/manifests/[A-Za-z0-9_][A-Za-z0-9._:+-]*$`, path)
		}
		if err != nil {
			require.NotContains(t, err.Error(), "\n\n\n")
		}
	})
}
