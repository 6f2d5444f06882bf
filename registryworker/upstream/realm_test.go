package upstream

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

func TestRealms(t *testing.T) {
	hub := config.Upstream{Name: "docker.io", URL: "https://registry-1.docker.io"}
	own := config.Upstream{Name: "reg.corp.example", URL: "https://10.0.0.5:5000", TokenRealms: []string{"Login.other.example", "keys.example:8443"}}
	local := config.Upstream{Name: "localhost:5000", URL: "http://localhost:5000"}
	for name, test := range map[string]struct {
		u     config.Upstream
		realm string
		ok    bool
	}{
		"same host":                    {config.Upstream{Name: "quay.io", URL: "https://quay.io"}, "https://quay.io/v2/auth", true},
		"same site":                    {hub, "https://auth.docker.io/token", true},
		"same site, capitals":          {hub, "https://AUTH.Docker.IO/token", true},
		"another site":                 {hub, "https://auth.docker.io.evil.example/token", false},
		"look-alike":                   {hub, "https://auth-docker.io/token", false},
		"the suffix itself":            {hub, "https://io/token", false},
		"user in the address":          {hub, "https://auth.docker.io@evil.example/token", false},
		"plain http":                   {hub, "http://auth.docker.io/token", false},
		"another scheme":               {hub, "file:///etc/passwd", false},
		"relative":                     {hub, "/token", false},
		"missing":                      {hub, "", false},
		"malformed":                    {hub, "https://auth.docker.io:x/", false},
		"the name's site":              {own, "https://auth.corp.example/token", true},
		"the address":                  {own, "https://10.0.0.5:9999/token", true},
		"another address":              {own, "https://10.0.0.6/token", false},
		"configured":                   {own, "https://login.other.example:444/t", true},
		"configured with its port":     {own, "https://keys.example:8443/t", true},
		"configured with another port": {own, "https://keys.example/t", false},
		"not what is beside":           {own, "https://x.other.example/t", false},
		"localhost, any port":          {local, "http://localhost:5001/auth", true},
		"plain upstream, https realm":  {local, "https://localhost:5001/auth", true},
		"localhost is not its address": {local, "http://127.0.0.1:5001/auth", false},
		"shared hosting":               {config.Upstream{Name: "a.github.io", URL: "https://a.github.io"}, "https://b.github.io/t", false},
		"one label":                    {config.Upstream{Name: "registry:5000", URL: "http://registry:5000"}, "http://registry/t", true},
		"IPv6":                         {config.Upstream{Name: "reg", URL: "http://[::1]:5000"}, "http://[::1]:5001/t", true},
		"known: Red Hat":               {config.Upstream{Name: "registry.redhat.io", URL: "https://registry.redhat.io"}, "https://sso.redhat.com/auth", true},
		"known: linuxserver":           {config.Upstream{Name: "lscr.io", URL: "https://lscr.io"}, "https://ghcr.io/token", true},
		"known: NVIDIA":                {config.Upstream{Name: "nvcr.io", URL: "https://nvcr.io"}, "https://authn.nvidia.com/token", true},
		"known by address":             {config.Upstream{Name: "mirror.example", URL: "https://lscr.io"}, "https://ghcr.io/token", true},
		"known, but of another":        {hub, "https://ghcr.io/token", false},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := url.Parse(test.u.URL)
			require.NoError(t, err)
			got, err := newRealms(test.u, base).check(test.realm)
			if test.ok {
				require.NoError(t, err)
				assert.NotEmpty(t, got.Host)
				return
			}
			require.Error(t, err)
		})
	}
}

func FuzzRealm(f *testing.F) {
	base := &url.URL{Scheme: "https", Host: "registry-1.docker.io"}
	r := newRealms(config.Upstream{Name: "docker.io"}, base)
	f.Add("https://auth.docker.io/token")
	f.Add("https://auth.docker.io@evil.example/")
	f.Fuzz(func(t *testing.T, realm string) {
		u, err := r.check(realm)
		if err != nil {
			return
		}
		host := strings.ToLower(u.Hostname())
		if u.Scheme != "https" || u.User != nil || host != "docker.io" && !strings.HasSuffix(host, ".docker.io") {
			t.Errorf("%q was allowed as %s", realm, u)
		}
	})
}
