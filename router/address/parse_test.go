package address

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

var testRoutes = []config.Route{
	{Path: "docker.io", Name: "docker.io", Library: true},
	{Path: "quay.io", Name: "quay.io", Aliases: []string{"q"}},
	{Path: "my-registry.example.com", Name: "my-registry.example.com"},
	{Path: "registry.example.com_5000", Name: "registry.example.com:5000", Aliases: []string{"intern.example.com"}},
	{Path: "local", Name: "local", Hosted: true},
}

var (
	sha256Digest = digest.SHA256.FromString("a").String()
	sha512Digest = digest.SHA512.FromString("a").String()
)

func TestParseFindsTheCanonicalPath(t *testing.T) {
	table := NewTable(testRoutes, "docker.io")
	for _, tt := range []struct{ name, uri, want string }{
		{"path mode", "/v2/quay.io/podman/hello/manifests/latest", "/v2/quay.io/podman/hello/manifests/latest"},
		{"blob", "/v2/quay.io/podman/hello/blobs/" + sha256Digest, "/v2/quay.io/podman/hello/blobs/" + sha256Digest},
		{"sha512", "/v2/quay.io/podman/hello/blobs/" + sha512Digest, "/v2/quay.io/podman/hello/blobs/" + sha512Digest},
		{"manifest by digest", "/v2/quay.io/a/manifests/" + sha256Digest, "/v2/quay.io/a/manifests/" + sha256Digest},
		{"an escaped colon means the same", "/v2/quay.io/a/blobs/" + strings.Replace(sha256Digest, ":", "%3A", 1), "/v2/quay.io/a/blobs/" + sha256Digest},
		{"tags with their query", "/v2/quay.io/a/tags/list?n=5&last=b", "/v2/quay.io/a/tags/list?last=b&n=5"},
		{"referrers", "/v2/quay.io/a/referrers/" + sha256Digest + "?artifactType=x%2Fy", "/v2/quay.io/a/referrers/" + sha256Digest + "?artifactType=x%2Fy"},
		{"host with hyphens", "/v2/my-registry.example.com/a/b/c/manifests/1", "/v2/my-registry.example.com/a/b/c/manifests/1"},
		{"host with port", "/v2/registry.example.com_5000/a/manifests/1", "/v2/registry.example.com_5000/a/manifests/1"},
		{"alias", "/v2/q/podman/hello/manifests/latest", "/v2/quay.io/podman/hello/manifests/latest"},
		{"library in path mode", "/v2/docker.io/hello-world/manifests/latest", "/v2/docker.io/library/hello-world/manifests/latest"},
		{"library with a default upstream", "/v2/hello-world/manifests/latest", "/v2/docker.io/library/hello-world/manifests/latest"},
		{"no library elsewhere", "/v2/quay.io/hello/manifests/latest", "/v2/quay.io/hello/manifests/latest"},
		{"default upstream", "/v2/bitnami/nginx/manifests/latest", "/v2/docker.io/bitnami/nginx/manifests/latest"},
		{"ns", "/v2/podman/hello/manifests/latest?ns=quay.io", "/v2/quay.io/podman/hello/manifests/latest"},
		{"ns leaves the other parameters", "/v2/a/tags/list?n=5&ns=quay.io", "/v2/quay.io/a/tags/list?n=5"},
		{"ns with a port", "/v2/a/b/manifests/1?ns=registry.example.com:5000", "/v2/registry.example.com_5000/a/b/manifests/1"},
		{"ns with a port, escaped", "/v2/a/b/manifests/1?ns=registry.example.com%3A5000", "/v2/registry.example.com_5000/a/b/manifests/1"},
		{"ns alias", "/v2/a/b/manifests/1?ns=intern.example.com", "/v2/registry.example.com_5000/a/b/manifests/1"},
		{"ns of Docker Hub", "/v2/library/a/manifests/1?ns=docker.io", "/v2/docker.io/library/a/manifests/1"},
		{"ns of Docker Hub's hosts", "/v2/a/manifests/1?ns=registry-1.docker.io", "/v2/docker.io/library/a/manifests/1"},
		{"ns in capitals", "/v2/a/manifests/1?ns=QUAY.io", "/v2/quay.io/a/manifests/1"},
		{"ns wins", "/v2/docker.io/a/manifests/1?ns=quay.io", "/v2/quay.io/docker.io/a/manifests/1"},
		{"ns and its path are not doubled", "/v2/quay.io/podman/hello/manifests/latest?ns=quay.io", "/v2/quay.io/podman/hello/manifests/latest"},
		{"ns with a repository named like an alias", "/v2/q/hello/manifests/latest?ns=quay.io", "/v2/quay.io/q/hello/manifests/latest"},
		{"empty ns is none", "/v2/quay.io/a/manifests/1?ns=", "/v2/quay.io/a/manifests/1"},
		{"a repository with the name of an endpoint", "/v2/quay.io/manifests/tags/blobs/manifests/1", "/v2/quay.io/manifests/tags/blobs/manifests/1"},
		{"an alias must match whole", "/v2/qq/hello/manifests/1", "/v2/docker.io/qq/hello/manifests/1"},
		{"hosted", "/v2/local/team/app/manifests/1", "/v2/local/team/app/manifests/1"},
		{"hosted, of one part more", "/v2/local/app/tags/list", "/v2/local/app/tags/list"},
		{"no host named like it", "/v2/localx/app/manifests/1", "/v2/docker.io/localx/app/manifests/1"},
		{"ns before the prefix", "/v2/local/app/manifests/1?ns=quay.io", "/v2/quay.io/local/app/manifests/1"},
		{"beginning of an upload", "/v2/local/app/blobs/uploads/", "/v2/local/app/blobs/uploads/"},
		{"beginning of an upload, without the slash", "/v2/local/app/blobs/uploads", "/v2/local/app/blobs/uploads/"},
		{"mount", "/v2/local/app/blobs/uploads/?mount=" + sha256Digest + "&from=local/base", "/v2/local/app/blobs/uploads/?from=local%2Fbase&mount=" + url.QueryEscape(sha256Digest)},
		{"upload", "/v2/local/app/blobs/uploads/0f-A9?_state=a_b-c%3D", "/v2/local/app/blobs/uploads/0f-A9?_state=a_b-c%3D"},
		{"a repository named like uploads", "/v2/local/blobs/uploads/manifests/1", "/v2/local/blobs/uploads/manifests/1"},
		{"an upload elsewhere is for its worker to refuse", "/v2/quay.io/a/blobs/uploads/1", "/v2/quay.io/a/blobs/uploads/1"},
		{"ping", "/v2/", "/v2/"},
		{"ping without slash", "/v2", "/v2/"},
		{"ping with ns", "/v2/?ns=quay.io", "/v2/"},
		{"catalog", "/v2/_catalog?n=3", "/v2/_catalog?n=3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := table.Parse(cut(tt.uri))
			require.NoError(t, err)
			want, query, _ := strings.Cut(tt.want, "?")
			assert.Equal(t, want, got.Path())
			assert.Equal(t, query, got.Query)
		})
	}
}

func TestParseTellsReferenceAndDigestApart(t *testing.T) {
	table := NewTable(testRoutes, "docker.io")
	byTag, err := table.Parse("/v2/q/a/manifests/v1.0_x", "")
	require.NoError(t, err)
	assert.Equal(t, Target{
		Kind: Manifests, Route: testRoutes[1], Repository: "quay.io/a", Reference: "v1.0_x",
	}, byTag)
	byDigest, err := table.Parse("/v2/q/a/manifests/"+sha256Digest, "")
	require.NoError(t, err)
	assert.Equal(t, digest.Digest(sha256Digest), byDigest.Digest)
	assert.Equal(t, sha256Digest, byDigest.Reference)
	tags, err := table.Parse("/v2/q/a/tags/list", "")
	require.NoError(t, err)
	assert.Equal(t, Tags, tags.Kind)
	assert.Empty(t, tags.Reference)
}

func TestParseRefuses(t *testing.T) {
	table := NewTable(testRoutes, "docker.io")
	name, unknown, tag, dgst := errcode.ErrorCodeNameInvalid, errcode.ErrorCodeNameUnknown, errcode.ErrorCodeTagInvalid, errcode.ErrorCodeDigestInvalid
	long := strings.Repeat("a", 10_000)
	for _, tt := range []struct {
		name, uri string
		code      errcode.ErrorCode
		says      string
	}{
		{"parent directory", "/v2/quay.io/../etc/manifests/1", name, `".."`},
		{"this directory", "/v2/quay.io/./etc/manifests/1", name, `"."`},
		{"parent directory, escaped", "/v2/quay.io/%2e%2e/etc/manifests/1", name, `".."`},
		{"parent directory, half escaped", "/v2/quay.io/.%2E/etc/manifests/1", name, `".."`},
		{"escaped slash", "/v2/quay.io/a%2fb/manifests/1", name, "escaped slash"},
		{"escaped slash in a tag", "/v2/quay.io/a/manifests/a%2Fb", name, "escaped slash"},
		{"escaped slash and parent", "/v2/quay.io/..%2f..%2fetc/manifests/1", name, "escaped slash"},
		{"twice escaped slash", "/v2/quay.io/a%252fb/manifests/1", name, "invalid"},
		{"escaped NUL", "/v2/quay.io/a%00b/manifests/1", name, "invalid"},
		{"broken escape", "/v2/quay.io/a%zz/manifests/1", name, "malformed"},
		{"backslash", `/v2/quay.io/a\b/manifests/1`, name, "invalid"},
		{"empty part", "/v2/quay.io//a/manifests/1", name, "empty part"},
		{"leading empty part", "/v2//quay.io/a/manifests/1", name, "empty part"},
		{"trailing slash", "/v2/quay.io/a/tags/list/", name, "empty part"},
		{"no name", "/v2/manifests/latest", unknown, "/manifests/<tag or digest>"},
		{"long name", "/v2/quay.io/" + long + "/manifests/1", name, "10008 bytes"},
		{"long name of short parts", "/v2/quay.io/" + strings.Repeat("a/", 5000) + "manifests/1", name, "at most 255"},
		{"too long only with its upstream", "/v2/" + strings.Repeat("a", 250) + "/manifests/1?ns=quay.io", name, "at most 255"},
		{"capitals", "/v2/quay.io/Podman/hello/manifests/1", name, "lower case"},
		{"host in capitals", "/v2/QUAY.io/podman/hello/manifests/1", name, "lower case"},
		{"no UTF-8", "/v2/quay.io/podman/\xe4/manifests/1", name, "is invalid"},
		{"colon", "/v2/registry.example.com:5000/a/manifests/1", name, "host_port"},
		{"leading dash", "/v2/quay.io/-a/manifests/1", name, "invalid"},
		{"three underscores", "/v2/quay.io/a___b/manifests/1", name, "invalid"},
		{"internal directory", "/v2/quay.io/_layers/manifests/1", name, "invalid"},
		{"not ASCII", "/v2/quay.io/%C3%A4/manifests/1", name, "invalid"},
		{"upstream alone", "/v2/quay.io/manifests/latest", name, "repository is missing"},
		{"alias alone", "/v2/q/tags/list", name, "repository is missing"},
		{"suffix look-alike", "/v2/quay.io.evil/podman/hello/manifests/1", unknown, "this cache serves docker.io, quay.io, my-registry.example.com, registry.example.com_5000"},
		{"prefix look-alike", "/v2/quay.ioo/podman/hello/manifests/1", unknown, `"quay.ioo" is not an upstream`},
		{"short look-alike", "/v2/quay.i/podman/hello/manifests/1", unknown, "not an upstream"},
		{"host without its port", "/v2/registry.example.com/a/manifests/1", unknown, "not an upstream"},
		{"hosted alone", "/v2/local/manifests/1", name, "names below local, as in local/team/image"},
		{"hosted by ns", "/v2/app/manifests/1?ns=local", unknown, `ns="local" is not an upstream`},
		{"upload of nothing", "/v2/blobs/uploads/1", unknown, "not a path"},
		{"upload into the parent directory", "/v2/local/app/blobs/uploads/..", name, `".."`},
		{"upload with a dot", "/v2/local/app/blobs/uploads/a.b", errcode.ErrorCodeBlobUploadInvalid, "none of this cache's"},
		{"upload with two slashes", "/v2/local/app/blobs/uploads//", name, "empty part"},
		{"upload with a name too long", "/v2/local/app/blobs/uploads/" + strings.Repeat("a", 129), errcode.ErrorCodeBlobUploadInvalid, "none of"},
		{"other port", "/v2/registry.example.com_5001/a/manifests/1", unknown, "not an upstream"},
		{"port alone", "/v2/registry_5000/a/manifests/1", unknown, "not an upstream"},
		{"localhost", "/v2/localhost/a/manifests/1", unknown, "not an upstream"},
		{"unknown ns", "/v2/a/manifests/1?ns=gcr.io", unknown, `ns="gcr.io" is not an upstream`},
		{"unknown ns before a known path", "/v2/quay.io/a/manifests/1?ns=gcr.io", unknown, "this cache serves"},
		{"malformed query", "/v2/quay.io/a/manifests/1?ns=%zz", name, "query"},
		{"digest without its end", "/v2/quay.io/a/blobs/sha256:abc", dgst, "64 hex digits"},
		{"digest too long", "/v2/quay.io/a/blobs/" + sha256Digest + "0", dgst, "64 hex digits"},
		{"digest in capitals", "/v2/quay.io/a/blobs/sha256:" + strings.Repeat("A", 64), dgst, "lower case"},
		{"digest no hex", "/v2/quay.io/a/blobs/sha256:" + strings.Repeat("g", 64), dgst, "hex digits"},
		{"sha512 of the wrong length", "/v2/quay.io/a/blobs/sha512:" + strings.Repeat("a", 64), dgst, "128 hex digits"},
		{"unsupported algorithm", "/v2/quay.io/a/blobs/sha384:" + strings.Repeat("a", 96), dgst, `"sha384" is not supported`},
		{"unknown algorithm", "/v2/quay.io/a/manifests/md5:" + strings.Repeat("a", 32), dgst, `"md5" is not supported`},
		{"blob by tag", "/v2/quay.io/a/blobs/latest", dgst, "is no digest"},
		{"blob by path", "/v2/quay.io/a/blobs/..%2f..%2fpasswd", name, "escaped slash"},
		{"referrers of a tag", "/v2/quay.io/a/referrers/latest", dgst, "is no digest"},
		{"tag with a dot in front", "/v2/quay.io/a/manifests/.hidden", tag, "is invalid"},
		{"tag too long", "/v2/quay.io/a/manifests/" + strings.Repeat("a", 129), tag, "128"},
		{"tag with a plus", "/v2/quay.io/a/manifests/1+2", tag, "is invalid"},
		{"tag and digest", "/v2/quay.io/a/manifests/latest@" + sha256Digest, dgst, "not supported"},
		{"unknown endpoint", "/v2/quay.io/a/uploads/1", unknown, "not a path of the registry API"},
		{"other list", "/v2/quay.io/a/tags/all", unknown, "not a path of the registry API"},
		{"repository alone", "/v2/quay.io/a", unknown, "not a path of the registry API"},
		{"below the catalog", "/v2/_catalog/x/tags/list", name, "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := table.Parse(cut(tt.uri))
			var coded errcode.Error
			require.ErrorAs(t, err, &coded)
			assert.Equal(t, tt.code, coded.Code, coded.Message)
			assert.Contains(t, coded.Message, tt.says)
			assert.Less(t, len(coded.Message), 400, "a client can't fill the message")
		})
	}
}

func TestParseWithoutTheDefaultUpstream(t *testing.T) {
	_, err := NewTable(testRoutes[1:2], "docker.io").Parse("/v2/podman/hello/manifests/1", "")
	assert.ErrorContains(t, err, `the default, "docker.io", is not configured; this cache serves quay.io`)
	_, err = NewTable(nil, "docker.io").Parse("/v2/quay.io/a/manifests/1", "")
	assert.ErrorContains(t, err, "no upstream configured")
}

func TestAnAliasNeverHidesAnUpstream(t *testing.T) {
	table := NewTable([]config.Route{
		{Path: "a.example", Name: "a.example", Aliases: []string{"b.example", "x"}},
		{Path: "b.example", Name: "b.example", Aliases: []string{"x"}},
	}, "")
	got, err := table.Parse("/v2/b.example/r/tags/list", "")
	require.NoError(t, err)
	assert.Equal(t, "b.example/r", got.Repository)
	got, err = table.Parse("/v2/x/r/tags/list", "")
	require.NoError(t, err)
	assert.Equal(t, "a.example/r", got.Repository)
}

func TestInAPI(t *testing.T) {
	for path, want := range map[string]bool{
		"/v2": true, "/v2/": true, "/v2/a": true, "/v2//": true,
		"/": false, "/v1/": false, "/v2x": false, "//v2/": false, "/%762/": false, "*": false,
	} {
		assert.Equal(t, want, InAPI(path), path)
	}
}

// cut splits a URI as net/http does, but keeps what it can't parse.
func cut(uri string) (path, query string) {
	path, query, _ = strings.Cut(uri, "?")
	if u, err := url.ParseRequestURI(path); err == nil {
		path = u.EscapedPath()
	}
	return path, query
}

var canonical = regexp.MustCompile(`^/v2/((docker\.io|quay\.io|my-registry\.example\.com|registry\.example\.com_5000|local)(/[a-z0-9]+([._-]+[a-z0-9]+)*)+/` +
	`(manifests/([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})|` +
	`(blobs|referrers)/(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})|blobs/uploads/[a-zA-Z0-9-]{0,128}|tags/list)|_catalog)?$`)

// Whatever is asked, what comes out is a canonical path that parses to itself.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/q/a/manifests/1", "/v2/quay.io/%2e%2e/a/manifests/1",
		"/v2/quay.io/a%2fb/blobs/" + sha256Digest, "/v2/registry.example.com_5000/a-b/c__d/referrers/" + sha512Digest,
		"/v2/local/a/blobs/uploads/", "/v2/local/a/blobs/uploads/0a-B",
	} {
		f.Add(seed, "n=1")
		f.Add(seed, "ns=registry.example.com:5000")
	}
	table := NewTable(testRoutes, "docker.io")
	f.Fuzz(func(t *testing.T, path, query string) {
		if !InAPI(path) {
			return
		}
		got, err := table.Parse(path, query)
		if err != nil {
			var coded errcode.Error
			require.ErrorAs(t, err, &coded)
			return
		}
		require.Regexp(t, canonical, got.Path())
		require.LessOrEqual(t, len(got.Repository), maxName)
		again, err := table.Parse(got.Path(), got.Query)
		require.NoError(t, err)
		require.Equal(t, got, again)
		values, err := url.ParseQuery(got.Query)
		require.NoError(t, err)
		require.NotContains(t, values, "ns")
	})
}

func BenchmarkParse(b *testing.B) {
	table := NewTable(testRoutes, "docker.io")
	for name, uri := range map[string]string{
		"tag":    "/v2/quay.io/podman/hello/manifests/latest",
		"digest": "/v2/quay.io/podman/hello/manifests/" + sha256Digest,
		"ns":     "/v2/podman/hello/manifests/latest?ns=quay.io",
	} {
		b.Run(name, func(b *testing.B) {
			path, query := cut(uri)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.Parse(path, query); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
