package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// auths is a pull secret of keys and values in turn.
func auths(keysAndValues ...string) string {
	var parts []string
	for i := 0; i < len(keysAndValues); i += 2 {
		key, _ := json.Marshal(keysAndValues[i])
		parts = append(parts, fmt.Sprintf("%s: %s", key, keysAndValues[i+1]))
	}
	return `{"auths": {` + strings.Join(parts, ", ") + `}}`
}

func authOf(userPassword string) string { return `{"auth": "` + b64(userPassword) + `"}` }

func TestCredentialForms(t *testing.T) {
	for name, test := range map[string]struct {
		entry string
		want  Credential
	}{
		"auth":                  {authOf("u:p"), Credential{Username: "u", Password: "p"}},
		"password with colons":  {authOf("u:p:q:r"), Credential{Username: "u", Password: "p:q:r"}},
		"trailing newline":      {authOf("u:p\r\n"), Credential{Username: "u", Password: "p"}},
		"spaces in password":    {authOf("u: p "), Credential{Username: "u", Password: " p "}},
		"no padding":            {`{"auth": "` + strings.TrimRight(b64("u:pp"), "=") + `"}`, Credential{Username: "u", Password: "pp"}},
		"wrapped base64":        {`{"auth": " dTpw\ncA== \n"}`, Credential{Username: "u", Password: "pp"}},
		"robot account":         {authOf("org+robot:p"), Credential{Username: "org+robot", Password: "p"}},
		"no user":               {authOf(":token"), Credential{Password: "token"}},
		"username and password": {`{"username": "u", "password": "p\n"}`, Credential{Username: "u", Password: "p"}},
		"all by kubectl":        {`{"username": "u", "password": "p", "email": "e", "auth": "` + b64("u:p") + `"}`, Credential{Username: "u", Password: "p"}},
		"identity token":        {`{"auth": "` + b64("u:") + `", "identitytoken": "tok\n"}`, Credential{Username: "u", IdentityToken: "tok"}},
		"identity token alone":  {`{"identitytoken": "tok"}`, Credential{IdentityToken: "tok"}},
		"nulls":                 {`{"auth": "` + b64("u:p") + `", "email": null, "serveraddress": "x"}`, Credential{Username: "u", Password: "p"}},
		"not ASCII":             {authOf("ü:ß"), Credential{Username: "ü", Password: "ß"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pullSecret(auths("quay.io", test.entry))
			require.Equal(t, []Credential{test.want}, s.load().Upstreams[0].Credentials)
		})
	}
}

func TestOneUpstreamForEachHost(t *testing.T) {
	s := newSite(t)
	s.pullSecret("\ufeff" + auths(
		"quay.io/org/repo", authOf("repo:1"),
		"quay.io", authOf("all:2"),
		"quay.io/org", authOf("org:3"),
		"quay.io/abc", authOf("abc:4"),
		"https://index.docker.io/v1/", authOf("hub:5"),
		"registry-1.docker.io", authOf("hub:5"), // the same again
		"docker.io/library", authOf("lib:6"),
		"https://index.docker.io/v1/access-token", authOf("hub:token"),
		"Registry.lab:5000", authOf("lab:7"),
		"cloud.openshift.com", authOf("x:8"),
		"ghcr.io", `{}`,
	))
	cfg := s.load()
	got := map[string][]Credential{}
	var names []string
	for _, u := range cfg.Upstreams {
		names = append(names, u.Name)
		got[u.Name] = u.Credentials
	}
	assert.Equal(t, []string{"docker.io", "ghcr.io", "quay.io", "registry.lab:5000"}, names)
	assert.Equal(t, []Credential{
		{Scope: "org/repo", Username: "repo", Password: "1"},
		{Scope: "abc", Username: "abc", Password: "4"},
		{Scope: "org", Username: "org", Password: "3"},
		{Username: "all", Password: "2"},
	}, got["quay.io"])
	assert.Equal(t, []Credential{
		{Scope: "library", Username: "lib", Password: "6"},
		{Username: "hub", Password: "5"},
	}, got["docker.io"])
	assert.Empty(t, got["ghcr.io"])
	assert.Equal(t, "registry.lab_5000", cfg.Upstreams[3].Path)
	assert.Equal(t, "https://registry.lab:5000", cfg.Upstreams[3].URL)
	s.requireNotice(`auths["ghcr.io"] holds no credentials, so it is used without`)
}

func TestBadPullSecrets(t *testing.T) {
	const form = `; write {"auths": {"quay.io": {"auth": "<base64 of user:password>"}}}`
	const entryForm = `; write {"auth": "<base64 of user:password>"} or {"username": "...", "password": "..."}`
	const base64Form = "auth is not base64 of user:password; write what `printf %s 'user:password' | base64 -w0` prints"
	for name, test := range map[string]struct{ content, want string }{
		"empty":                  {"", "is empty" + form},
		"blank":                  {"\n  \n", "is empty" + form},
		"not JSON":               {"auths:\n  quay.io: x", "is not JSON: line 1 is wrong at column 1" + form},
		"not JSON further on":    {"{\"auths\": {\n  \"quay.io\": {},\n  }\n}", "is not JSON: line 3 is wrong at column 3" + form},
		"cut short":              {"{\"auths\": {\n", "is not JSON: line 2 ends before all quotes and brackets are closed" + form},
		"two values":             {"{}\n{}", "is not JSON: line 2 is wrong at column 1" + form},
		"a list":                 {"[]", "is not a JSON object" + form},
		"not UTF-8":              {"\xff\xfe{\x00", "PULLSECRETPATH: pull-secret.json is not UTF-8 text; save it as UTF-8"},
		"auths missing":          {`{}`, "auths is missing" + form},
		"auths twice":            {`{"auths": {}, "auths": {}}`, "auths is there 2 times; keep one"},
		"auths a list":           {`{"auths": []}`, "auths is not a JSON object" + form},
		"auths null":             {`{"auths": null}`, "auths is not a JSON object" + form},
		"auths empty":            {`{"auths": {}}`, "PULLSECRETPATH: no upstream is left to cache: add an entry to auths, or list a host under upstreams in CONFIG_FILE"},
		"all ignored":            {auths("cloud.openshift.com", authOf("u:p")), "PULLSECRETPATH: no upstream is left to cache: add an entry to auths, or list a host under upstreams in CONFIG_FILE"},
		"key with path only":     {auths("/podman/hello", authOf("u:p")), `auths["/podman/hello"]: the key ` + errKeyForm.Error()},
		"key without host":       {auths("podman/hello", authOf("u:p")), `auths["podman/hello"]: the key ` + errKeyForm.Error()},
		"key with bad host":      {auths("quay..io", authOf("u:p")), `auths["quay..io"]: the key ` + errKeyHost.Error()},
		"key with password":      {auths("https://u:p@quay.io", `{}`), `auths["https://...@quay.io"]: the key ` + errKeyUserinfo.Error()},
		"IPv6":                   {auths("[::1]:5000", `{}`), `auths["[::1]:5000"]: the key ` + errKeyIPv6.Error()},
		"key twice":              {`{"auths": {"quay.io": {}, "quay.io": {}}}`, `auths["quay.io"]: is there more than once; keep one`},
		"entry a text":           {auths("quay.io", `"dTpw"`), `auths["quay.io"]: is not a JSON object` + entryForm},
		"auth a number":          {auths("quay.io", `{"auth": 1}`), `auths["quay.io"]: auth is not a text in quotes` + entryForm},
		"auth not base64":        {auths("quay.io", `{"auth": "user:password"}`), `auths["quay.io"]: ` + base64Form},
		"auth of binary":         {auths("quay.io", `{"auth": "//79"}`), `auths["quay.io"]: ` + base64Form},
		"auth without colon":     {auths("quay.io", authOf("user")), `auths["quay.io"]: auth decodes to something without a colon; it must be base64 of user:password`},
		"no password":            {auths("quay.io", authOf("user:")), `auths["quay.io"]: the password is empty` + entryForm},
		"username alone":         {auths("quay.io", `{"username": "u"}`), `auths["quay.io"]: the password is empty` + entryForm},
		"registrytoken alone":    {auths("quay.io", `{"registrytoken": "t"}`), `auths["quay.io"]: registrytoken alone can't be used, since it expires and can't be renewed` + entryForm},
		"two opinions":           {auths("quay.io", `{"auth": "dTpw", "username": "other"}`), `auths["quay.io"]: auth says otherwise than username and password; keep one of the two`},
		"unknown key in entry":   {auths("quay.io", `{"pasword": "x"}`), `auths["quay.io"]: unknown key "pasword"; did you mean password? (known are auth, username, password, email, identitytoken, registrytoken, serveraddress)`},
		"key in entry twice":     {auths("quay.io", `{"auth": "dTpw", "auth": "dTpw"}`), `auths["quay.io"]: auth is there more than once; keep one`},
		"same registry, differs": {auths("index.docker.io", authOf("a:1"), "docker.io", authOf("a:2")), `auths["docker.io"]: is for docker.io like auths["index.docker.io"], with other credentials; keep one of the two`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pullSecret(test.content)
			want := test.want
			if !strings.HasPrefix(want, "PULLSECRETPATH: ") {
				want = "pull-secret.json: " + want
			}
			s.requireMistakes(want)
		})
	}
}

// podman before 4.4 mounts the value of a Kubernetes Secret as it is in the
// manifest.
func TestPullSecretInBase64(t *testing.T) {
	s := newSite(t)
	s.pullSecret(b64(`{"auths": {"quay.io": `+authOf("u:p")+`}}`) + "\n")
	require.Equal(t, []Credential{{Username: "u", Password: "p"}}, s.load().Upstreams[0].Credentials)
}

func TestUnknownKeysInPullSecret(t *testing.T) {
	s := newSite(t)
	s.pullSecret(`{"quay.io": {"auth": "dTpw"}, "auth": {}}`)
	s.requireMistakes(
		`pull-secret.json: "quay.io" stands beside auths and belongs inside; write {"auths": {"quay.io": {"auth": "<base64 of user:password>"}}}`,
		`pull-secret.json: unknown key "auth"; expected is auths; write {"auths": {"quay.io": {"auth": "<base64 of user:password>"}}}`,
		`pull-secret.json: auths is missing; write {"auths": {"quay.io": {"auth": "<base64 of user:password>"}}}`,
	)
	s = newSite(t)
	s.pullSecret(`{"auths": {"quay.io": {}}, "HttpHeaders": {}, "psFormat": "x", "currentContext": "c", "credsStore": "desktop", "credHelpers": {}}`)
	s.requireNotice("credsStore is ignored: the cache has no credential helpers, so what they hold must stand in auths")
	s.requireNotice("credHelpers is ignored")
}

func TestUnreadablePullSecret(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	s := newSite(t)
	require.NoError(t, os.Chmod(s.env["PULLSECRETPATH"], 0))
	require.Contains(t, s.mistakes()[0], "PULLSECRETPATH: pull-secret.json may not be read by user")
}

func TestHugePullSecret(t *testing.T) {
	s := newSite(t)
	s.pullSecret(strings.Repeat(" ", maxFileSize+1))
	s.requireMistakes("PULLSECRETPATH: pull-secret.json is larger than 4 MiB, so it can't be what is meant")
}

func TestIgnoreList(t *testing.T) {
	secret := auths(
		"quay.io", authOf("u:p"), "quay.io/org", authOf("o:p"), "ghcr.io", authOf("u:p"),
		"https://index.docker.io/v1/", authOf("u:p"), "*.broken", `"what"`,
	)
	for list, want := range map[string][]string{
		"*.broken":                          {"docker.io", "ghcr.io", "quay.io", "quay.io/org"},
		"*.broken quay.io":                  {"docker.io", "ghcr.io"},
		"*.broken quay.io/org":              {"docker.io", "ghcr.io", "quay.io"},
		"*.broken  docker.io\tGHCR.io":      {"quay.io", "quay.io/org"},
		"*.broken registry-1.docker.io":     {"ghcr.io", "quay.io", "quay.io/org"},
		"*.broken https://quay.io not/here": {"docker.io", "ghcr.io"},
	} {
		s := newSite(t)
		s.pullSecret(secret)
		s.env["IGNOREREGISTRYLIST"] = list
		var got []string
		for _, u := range s.load().Upstreams {
			for i := range u.Credentials {
				c := u.Credentials[len(u.Credentials)-1-i]
				got = append(got, registryKey{Host: u.Name, Scope: c.Scope}.String())
			}
		}
		assert.Equal(t, want, got, list)
	}
}

func TestPlainHTTPKeyStaysHTTPS(t *testing.T) {
	s := newSite(t)
	s.pullSecret(auths("http://registry.lab:5000", authOf("u:p")))
	assert.Equal(t, "https://registry.lab:5000", s.load().Upstreams[0].URL)
	s.requireNotice(`auths["http://registry.lab:5000"] is asked over https although its key says http; for plain HTTP set the url of registry.lab:5000 in CONFIG_FILE`)

	s.configFile(`upstreams: {"registry.lab:5000": {url: "http://registry.lab:5000"}}`)
	assert.Equal(t, "http://registry.lab:5000", s.load().Upstreams[0].URL)
	s.requireNotice("the credentials for registry.lab:5000 travel unencrypted, since its url is http://registry.lab:5000")
}

func TestShortHostIsFineWhenConfigFileNamesIt(t *testing.T) {
	s := newSite(t)
	s.pullSecret(auths("harbor/team", authOf("u:p")))
	s.configFile(`upstreams: {harbor: {url: "https://harbor.lab"}}`)
	require.Equal(t, []Credential{{Scope: "team", Username: "u", Password: "p"}}, s.load().Upstreams[0].Credentials)
}

func FuzzPullSecret(f *testing.F) {
	f.Add([]byte(auths("quay.io/org", authOf("u:p"), "docker.io", `{}`)))
	f.Add([]byte(`{"auths": {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}, "credsStore": "x"}`))
	f.Add([]byte(`{"auths": {"a:1": {"identitytoken": "x"}, "a:1": null}}`))
	f.Add([]byte(`{"auths": {"quay.io": {"auth": `))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := &loader{cfg: &Config{}}
		hosts := map[string]*Upstream{}
		l.addCredentials(hosts, l.parsePullSecret("pull-secret.json", content))
		if err := l.err(); err != nil {
			require.Len(t, strings.Split(err.Error(), "\n"), 1+l.count())
			return
		}
		for _, u := range hosts {
			require.Regexp(t, namePart, u.Path)
			for _, c := range u.Credentials {
				require.NotEmpty(t, c.Password.Reveal()+c.IdentityToken.Reveal())
				sent, err := json.Marshal(c)
				require.NoError(t, err)
				var received Credential
				require.NoError(t, json.Unmarshal(sent, &received))
				require.Equal(t, c, received, "the pipe to the worker must not change it")
			}
		}
	})
}
