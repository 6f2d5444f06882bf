package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"
)

// site is a cache with an upstream of each shape of name.
func site() Cache {
	return Cache{
		Host: "cache.local:8443", DefaultPath: "docker.io",
		Upstreams: []Upstream{{"docker.io", "docker.io"}, {"quay.io", "quay.io"}, {"registry.lab:5000", "registry.lab_5000"}},
	}
}

func TestParseHost(t *testing.T) {
	for _, good := range []string{"cache.local:8443", "cache.local", "localhost", "localhost:5000", "10.0.0.1:8443", "[::1]:8443", "cache:443"} {
		require.NoError(t, ParseHost(good), good)
	}
	for bad, says := range map[string]string{
		"":                   "is empty",
		"https://cache:8443": "leave it out",
		"cache.local/x":      "has a path",
		"cache":              "cache:443",
		"cache.local:":       "not a host",
		"cache.local:0":      "1 to 65535",
		"cache.local:70000":  "1 to 65535",
		"cache.local:84x":    "not a host",
		"a b.c":              "not a host",
		"a.b\"\n":            "not a host",
		"::1":                "not a host",
	} {
		require.ErrorContains(t, ParseHost(bad), says, bad)
	}
}

func TestMirrorSetsAreWhatOpenShiftTakes(t *testing.T) {
	for name, render := range map[string]func(Cache) ([]File, error){"icsp": ICSP, "idms": IDMS, "itms": ITMS} {
		t.Run(name, func(t *testing.T) {
			files, err := render(site())
			require.NoError(t, err)
			require.Len(t, files, 1)
			doc := document(t, files[0])
			require.Empty(t, conforms(t, doc))
			for _, list := range doc["spec"].(map[string]any) {
				require.Equal(t, []any{
					map[string]any{"source": "docker.io", "mirrors": []any{"cache.local:8443/docker.io"}},
					map[string]any{"source": "quay.io", "mirrors": []any{"cache.local:8443/quay.io"}},
					map[string]any{"source": "registry.lab:5000", "mirrors": []any{"cache.local:8443/registry.lab_5000"}},
				}, list)
			}
			insecure := site()
			insecure.Security = Unverified
			_, err = render(insecure)
			require.ErrorContains(t, err, "client-config machineconfig --insecure")
		})
	}
}

// With an IPv6 address for a mirror podman 4 says "invalid reference format" to
// each pull, and asks nobody.
func TestWhatTakesNoIPv6Address(t *testing.T) {
	v6 := site()
	v6.Host = "[::1]:8443"
	for name, render := range map[string]func(Cache) ([]File, error){
		"icsp": ICSP, "idms": IDMS, "itms": ITMS, "machineconfig": MachineConfig,
		"registries.conf": Registries, "drop-in": RegistriesDropIn,
	} {
		_, err := render(v6)
		require.ErrorContains(t, err, "IPv6", name)
	}
	_, err := Containerd(v6, ContainerdNode{Mode: ByPath})
	require.NoError(t, err)
}

func TestMachineConfigsWriteTheDropIn(t *testing.T) {
	c := site()
	c.Security = Plain
	files, err := MachineConfig(c)
	require.NoError(t, err)
	require.Len(t, files, 2)
	dropIn, err := RegistriesDropIn(c)
	require.NoError(t, err)
	for i, role := range []string{"worker", "master"} {
		require.Equal(t, role+".yaml", files[i].Name)
		doc := document(t, files[i])
		require.Empty(t, conforms(t, doc))
		require.Contains(t, doc["metadata"].(map[string]any)["labels"], "machineconfiguration.openshift.io/role")
		require.Equal(t, "99-"+role+"-registry-cache", doc["metadata"].(map[string]any)["name"])
		config := doc["spec"].(map[string]any)["config"].(map[string]any)
		file := config["storage"].(map[string]any)["files"].([]any)[0].(map[string]any)
		require.Equal(t, "/etc/containers/registries.conf.d/50-registry-cache.conf", file["path"])
		require.Equal(t, 0o644, file["mode"])
		source := file["contents"].(map[string]any)["source"].(string)
		encoded, ok := strings.CutPrefix(source, "data:text/plain;charset=utf-8;base64,")
		require.True(t, ok, source)
		content, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		require.Equal(t, string(dropIn[0].Content), string(content))
		require.Contains(t, string(content), "insecure = true")
	}
}

func TestRegistries(t *testing.T) {
	full, err := Registries(site())
	require.NoError(t, err)
	text := string(full[0].Content)
	require.Contains(t, text, "unqualified-search-registries = [\"docker.io\"]\n")
	require.Contains(t, text, "[[registry]]\nprefix = \"registry.lab:5000\"\nlocation = \"registry.lab:5000\"\n\n"+
		"[[registry.mirror]]\nlocation = \"cache.local:8443/registry.lab_5000\"\n")
	require.NotContains(t, text, "insecure")

	c := site()
	c.Security, c.DefaultPath = Plain, "elsewhere.io"
	full, err = Registries(c)
	require.NoError(t, err)
	text = string(full[0].Content)
	require.NotContains(t, text, "unqualified-search-registries", "the cache has no docker.io")
	require.Equal(t, 4, strings.Count(text, "insecure = true"), "three mirrors, and the cache itself")
	dropIn, err := RegistriesDropIn(site())
	require.NoError(t, err)
	require.NotContains(t, string(dropIn[0].Content), "unqualified-search-registries")
}

func TestContainerd(t *testing.T) {
	c := site()
	files, err := Containerd(c, ContainerdNode{Mode: ByPath})
	require.NoError(t, err)
	require.Len(t, files, 3)
	require.Equal(t, "registry.lab:5000/hosts.toml", files[2].Name)
	require.Contains(t, string(files[0].Content), `server = "https://registry-1.docker.io"`)
	require.Contains(t, string(files[2].Content), `server = "https://registry.lab:5000"`)
	require.Contains(t, string(files[2].Content), `[host."https://cache.local:8443/v2/registry.lab_5000"]`)
	require.Contains(t, string(files[2].Content), "override_path = true")
	require.NotContains(t, string(files[2].Content), "skip_verify")

	c.Security = Unverified
	files, err = Containerd(c, ContainerdNode{Mode: ByNamespace, CA: `/etc/"ca"\x.pem`})
	require.NoError(t, err)
	text := string(files[1].Content)
	require.Contains(t, text, `[host."https://cache.local:8443"]`)
	require.Contains(t, text, "skip_verify = true")
	require.Contains(t, text, `ca = "/etc/\"ca\"\\x.pem"`)
	require.NotContains(t, text, "override_path")
	require.NotContains(t, text, "header")
	require.False(t, files[1].Secret)
	c.Security = Plain
	files, err = Containerd(c, ContainerdNode{Mode: ByNamespace, Login: &Login{"robot", "pass:w0rd"}})
	require.NoError(t, err)
	text = string(files[1].Content)
	require.Contains(t, text, `[host."http://cache.local:8443"]`)
	require.Contains(t, text, "[host.\"http://cache.local:8443\".header]\n    Authorization = \"Basic cm9ib3Q6cGFzczp3MHJk\"\n")
	require.True(t, files[1].Secret)
	_, err = Containerd(c, ContainerdNode{Mode: ByPath, Login: &Login{"robot", ""}})
	require.ErrorContains(t, err, "the password is empty")
}

func TestDocker(t *testing.T) {
	files, err := Docker(site())
	require.NoError(t, err)
	require.JSONEq(t, `{"registry-mirrors": ["https://cache.local:8443"]}`, string(files[0].Content))
	c := site()
	c.Security = Plain
	files, err = Docker(c)
	require.NoError(t, err)
	require.JSONEq(t, `{"registry-mirrors": ["http://cache.local:8443"], "insecure-registries": ["cache.local:8443"]}`, string(files[0].Content))
	c.DefaultPath = "quay.io"
	_, err = Docker(c)
	require.ErrorContains(t, err, "DEFAULT_REGISTRY is quay.io")
	c.DefaultPath = "ghcr.io"
	_, err = Docker(c)
	require.ErrorContains(t, err, "is not configured")
}

func TestPullSecret(t *testing.T) {
	const robot = "cm9ib3Q6cGFzczp3MHJk" // robot:pass:w0rd
	render := func(existing string) ([]File, error) {
		return PullSecret(site(), Login{"robot", "pass:w0rd"}, []byte(existing))
	}
	files, err := render("")
	require.NoError(t, err)
	require.True(t, files[0].Secret)
	require.JSONEq(t, `{"auths": {"cache.local:8443": {"auth": "`+robot+`"}}}`, string(files[0].Content))
	files, err = render(`{"credsStore": "x", "auths": {"quay.io": {"auth": "abc", "email": "<a&b>"}, "cache.local:8443": {"auth": "old"}}}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"credsStore": "x", "auths": {"quay.io": {"auth": "abc", "email": "<a&b>"}, "cache.local:8443": {"auth": "`+robot+`"}}}`,
		string(files[0].Content))
	for bad, says := range map[string]string{
		"[]": "not an auth file", "null": "not an auth file", `{"auths": null}`: "not an auth file",
		`{"auths": []}`: "auths is not an object", "{": "not an auth file",
	} {
		_, err := render(bad)
		require.ErrorContains(t, err, says, bad)
	}
	for _, login := range []Login{{"", "x"}, {"a:b", "x"}, {"a", ""}} {
		_, err := PullSecret(site(), login, nil)
		require.Error(t, err)
	}
}

func TestFilesArePrintedAndSaved(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Print(&out, []File{{Name: "a.json", Content: []byte("{}\n")}}))
	require.Equal(t, "{}\n", out.String())
	out.Reset()
	require.NoError(t, Print(&out, []File{{Name: "a.yaml", Content: []byte("a: 1\n")}, {Name: "b.yaml", Content: []byte("b: 1\n")}}))
	require.Equal(t, "---\na: 1\n---\nb: 1\n", out.String())
	out.Reset()
	require.NoError(t, Print(&out, []File{{Name: "a.yaml", Content: []byte("a: 1\n")}, {Name: "d/c.toml", Content: []byte("c = 1\n")}}))
	require.Equal(t, "# ==> a.yaml <==\na: 1\n# ==> d/c.toml <==\nc = 1\n", out.String())

	dir := filepath.Join(t.TempDir(), "new")
	for range 2 { // the second time over the first
		paths, err := Save(dir, []File{{Name: "d/open", Content: []byte("1")}, {Name: "secret", Content: []byte("2"), Secret: true}})
		require.NoError(t, err)
		require.Equal(t, []string{filepath.Join(dir, "d", "open"), filepath.Join(dir, "secret")}, paths)
		for path, mode := range map[string]os.FileMode{paths[0]: 0o644, paths[1]: 0o600} {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode())
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "no temporary files stay")
	_, err = Save(filepath.Join(dir, "secret"), []File{{Name: "x"}})
	require.Error(t, err)
}

// FuzzQuote holds that what is quoted comes back through a parser of JSON, whose
// strings are a subset of TOML's.
func FuzzQuote(f *testing.F) {
	f.Add(`a"b\c`)
	f.Add("\x80\xff")
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := quote(text)
		require.NoError(t, err)
		require.False(t, strings.ContainsAny(quoted, "\n\x7f"))
		var back string
		require.NoError(t, json.Unmarshal([]byte(quoted), &back))
		require.Equal(t, string([]rune(text)), back, "U+FFFD stands for each byte that is no UTF-8")
	})
}

// FuzzParseHost holds that clients take what is accepted for a registry.
func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"cache.local:8443", "cache", "localhost", "[::1]:8443", "a..b", "https://x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if ParseHost(host) != nil {
			return
		}
		named, err := reference.ParseNormalizedNamed(host + "/quay.io/podman/hello")
		require.NoError(t, err)
		require.Equal(t, host, reference.Domain(named))
	})
}
