package config

import (
	"net/url"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRegistryKey(t *testing.T) {
	for key, want := range map[string]registryKey{
		"quay.io":                            {Host: "quay.io"},
		"quay.io/":                           {Host: "quay.io"},
		"Quay.IO":                            {Host: "quay.io"},
		"quay.io\n":                          {Host: "quay.io"},
		"quay.io/org":                        {Host: "quay.io", Scope: "org"},
		"quay.io/org/sub/repo/":              {Host: "quay.io", Scope: "org/sub/repo"},
		"quay.io/v2":                         {Host: "quay.io", Scope: "v2"},
		"https://quay.io":                    {Host: "quay.io"},
		"HTTPS://quay.io/v2/":                {Host: "quay.io"},
		"https://quay.io/v2/org":             {Host: "quay.io", Scope: "org"},
		"http://registry.lab:5000":           {Host: "registry.lab:5000", PlainHTTP: true},
		"registry.lab:5000/team":             {Host: "registry.lab:5000", Scope: "team"},
		"docker.io":                          {Host: "docker.io"},
		"docker.io/org":                      {Host: "docker.io", Scope: "org"},
		"index.docker.io":                    {Host: "docker.io"},
		"index.docker.io/v1/":                {Host: "docker.io"},
		"https://index.docker.io/v1/":        {Host: "docker.io"},
		"https://index.docker.io/v1":         {Host: "docker.io"},
		"registry-1.docker.io":               {Host: "docker.io"},
		"https://registry-1.docker.io/v2/":   {Host: "docker.io"},
		"localhost:5000":                     {Host: "localhost:5000"},
		"10.0.0.1:5000":                      {Host: "10.0.0.1:5000"},
		"my-registry.a--b.example.com":       {Host: "my-registry.a--b.example.com"},
		"my_registry:5000":                   {Host: "my_registry:5000"},
		"123456.dkr.ecr.us-1.amazonaws.com":  {Host: "123456.dkr.ecr.us-1.amazonaws.com"},
		"us-docker.pkg.dev/project-1/my.rep": {Host: "us-docker.pkg.dev", Scope: "project-1/my.rep"},
	} {
		got, err := parseRegistryKey(key)
		require.NoError(t, err, key)
		assert.Equal(t, want, got, key)
	}
}

func TestBadRegistryKeys(t *testing.T) {
	for key, want := range map[string]error{
		"":                          errKeyForm,
		"/":                         errKeyForm,
		"/podman/hello":             errKeyForm,
		"https:///v2/":              errKeyForm,
		"ftp://quay.io":             errKeyScheme,
		"docker://quay.io":          errKeyScheme,
		"user:pass@quay.io":         errKeyUserinfo,
		"https://user@quay.io/":     errKeyUserinfo,
		"quay.io?x":                 errKeyQuery,
		"quay.io/a#b":               errKeyQuery,
		"*.example.com":             errKeyWildcard,
		"[::1]:5000":                errKeyIPv6,
		"::1":                       errKeyIPv6,
		"a:1:2":                     errKeyIPv6,
		"quay.io:":                  errKeyPort,
		"quay.io:0":                 errKeyPort,
		"quay.io:65536":             errKeyPort,
		"quay.io:05":                errKeyPort,
		"quay.io:https":             errKeyPort,
		"-quay.io":                  errKeyHost,
		"quay-.io":                  errKeyHost,
		"quay..io":                  errKeyHost,
		".quay.io":                  errKeyHost,
		"quay.io.":                  errKeyHost,
		"a___b.io":                  errKeyHost,
		"quay io":                   errKeyHost,
		"bücher.example":            errKeyHost,
		"..":                        errKeyHost,
		"quay.io/..":                errKeyScope,
		"quay.io/a//b":              errKeyScope,
		"quay.io/Org":               errKeyScope,
		"quay.io/org:tag":           errKeyScope,
		"quay.io/%2e%2e":            errKeyScope,
		"https://quay.io/v2/_x/y-/": errKeyScope,
	} {
		_, err := parseRegistryKey(key)
		require.ErrorIs(t, err, want, key)
	}
}

func TestShowKeyHidesPasswords(t *testing.T) {
	for key, want := range map[string]string{
		"quay.io/org":                  "quay.io/org",
		"https://quay.io:5000/org":     "https://quay.io:5000/org",
		"https://u:SECRET@quay.io/org": "https://...@quay.io/org",
		"u:SEC/RET@quay.io":            "...@quay.io",
		"u:SEC\nRET@quay.io":           "...@quay.io",
		"user:SECRET":                  "user:...",
		"https://user:SECRET/x":        "https://user:.../x",
		"[::1]:5000":                   "[::1]:5000",
	} {
		assert.Equal(t, want, showKey(key))
	}
}

func FuzzRegistryKey(f *testing.F) {
	for _, seed := range []string{"quay.io/org", "https://index.docker.io/v1/", "a:1", "[::1]:5", "A_b:5000/x", "user:p@h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		_ = showKey(key)
		k, err := parseRegistryKey(key)
		if err != nil {
			return
		}
		again, err := parseRegistryKey(k.String())
		require.NoError(t, err)
		require.Equal(t, k.String(), again.String(), "the plainest form stays as it is")

		name := upstreamPath(k.Host) + "/x"
		if k.Scope != "" {
			name = upstreamPath(k.Host) + "/" + k.Scope
		}
		if len(name) <= reference.RepositoryNameTotalLengthMax {
			_, err = reference.WithName("example.com/" + name)
			require.NoError(t, err)
		}
		u, err := url.Parse("https://" + k.Host)
		require.NoError(t, err)
		require.Equal(t, k.Host, u.Host)
	})
}
