package upstream

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for name, test := range map[string]struct {
		lines []string
		want  []challenge
	}{
		"none":       {nil, nil},
		"empty":      {[]string{"", " , ,"}, nil},
		"docker hub": {[]string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`}, []challenge{{"bearer", params{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/alpine:pull"}}}},
		"unquoted":   {[]string{`bearer realm="https://gcr.io/v2/token",service=gcr.io,scope=repository:a/b:pull`}, []challenge{{"bearer", params{"realm": "https://gcr.io/v2/token", "service": "gcr.io", "scope": "repository:a/b:pull"}}}},
		"comma and quote inside": {
			[]string{`Bearer scope="a:pull,push", realm="x \"y\" \\z"`},
			[]challenge{{"bearer", params{"scope": "a:pull,push", "realm": `x "y" \z`}}},
		},
		"two in one line": {
			[]string{`Basic realm="one", Bearer realm="two", service="s"`},
			[]challenge{{"basic", params{"realm": "one"}}, {"bearer", params{"realm": "two", "service": "s"}}},
		},
		"two lines": {
			[]string{`BASIC realm="one"`, `Bearer realm=two`},
			[]challenge{{"basic", params{"realm": "one"}}, {"bearer", params{"realm": "two"}}},
		},
		"token68 and bare": {
			[]string{`Negotiate, NTLM TlRMTVNTUA==, Basic realm="r"`},
			[]challenge{{"negotiate", params{}}, {"ntlm", params{}}, {"basic", params{"realm": "r"}}},
		},
		"spaces":             {[]string{"Bearer  realm = \"r\" ,\tservice = s"}, []challenge{{"bearer", params{"realm": "r", "service": "s"}}}},
		"no comma":           {[]string{`Bearer realm="r" service="s"`}, []challenge{{"bearer", params{"realm": "r", "service": "s"}}}},
		"upper-case names":   {[]string{`Bearer REALM="r"`}, []challenge{{"bearer", params{"realm": "r"}}}},
		"the first one wins": {[]string{`Bearer realm="r",realm="evil"`}, []challenge{{"bearer", params{"realm": "r"}}}},
		"unterminated":       {[]string{`Bearer realm="r`}, []challenge{{"bearer", params{"realm": "r"}}}},
		"nonsense":           {[]string{`"realm"`, `=x`, `Bearer realm="r", "`}, []challenge{{"bearer", params{"realm": "r"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, parseChallenges(test.lines), cmp.AllowUnexported(challenge{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	assert.Len(t, parseChallenges([]string{strings.Repeat("Basic,", 1000)}), maxChallenges)
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`, `Basic realm=x`)
	f.Add(`NTLM TlRMTVNTUA==, Digest a="\"`, `,,=`)
	f.Fuzz(func(t *testing.T, one, two string) {
		for _, c := range parseChallenges([]string{one, two}) {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) {
				t.Errorf("scheme %q", c.scheme)
			}
			for name := range c.params {
				if name == "" || name != strings.ToLower(name) {
					t.Errorf("parameter %q", name)
				}
			}
		}
	})
}

// FuzzChallengeValue holds that any value survives being quoted.
func FuzzChallengeValue(f *testing.F) {
	f.Add("https://auth.docker.io/token", `a"b\c`)
	f.Fuzz(func(t *testing.T, realm, service string) {
		quote := func(s string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		}
		got := parseChallenges([]string{"Bearer realm=" + quote(realm) + ", service=" + quote(service)})
		if len(got) != 1 || got[0].params["realm"] != realm || got[0].params["service"] != service {
			t.Errorf("%q %q: %v", realm, service, got)
		}
	})
}
