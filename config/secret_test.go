package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// password is in every file and variable of the tests below, and may come out
// of none.
const password = "HuNtEr2zzz"

func requireHidden(t *testing.T, text string) {
	t.Helper()
	for _, form := range []string{password, strings.ToLower(password), b64(password)[:12]} {
		require.NotContains(t, text, form)
	}
}

func TestNoSecretInFormattedConfig(t *testing.T) {
	s := newSite(t)
	id := newAuthority(t)
	s.file("certs/certs.pem", string(id.pair(t)))
	s.pullSecret(auths("quay.io", authOf("user:"+password), "docker.io", `{"identitytoken": "`+password+`"}`))
	s.env["HTTPS_PROXY"] = "http://user:" + password + "@proxy.lab:3128"
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	cfg := s.load()
	keyBytes := strings.Trim(fmt.Sprintf("%d", []byte(id.keyPEM(t))), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{cfg, *cfg, cfg.Upstreams, *cfg.TLS, cfg.Proxy, cfg.Auth, cfg.Worker(cfg.Upstreams[1]), cfg.Router(), cfg.Upstreams[1].Credentials[0].Password} {
			text := fmt.Sprintf(verb, value)
			requireHidden(t, text)
			for _, hidden := range []string{fmt.Sprintf("%x", password), goodHash, fmt.Sprintf("%x", goodHash), "PRIVATE KEY", keyBytes} {
				require.NotContains(t, text, hidden)
			}
		}
	}
	assert.Equal(t, "[redacted]", fmt.Sprint(cfg.Proxy.HTTPS))
	assert.Equal(t, "", fmt.Sprint(Secret("")), "nothing to hide is shown as nothing")
	assert.Equal(t, password, cfg.Upstreams[1].Credentials[0].Password.Reveal())
	for _, notice := range cfg.Notices {
		requireHidden(t, notice)
	}
}

func TestNoSecretInMistakes(t *testing.T) {
	p := password
	secrets := map[string]string{
		"not JSON":            `{"auths": {"quay.io": {"auth": ` + p + `}}}`,
		"cut short":           `{"auths": {"quay.io": {"auth": "` + p,
		"bad escape":          `{"auths": {"quay.io": {"password": "\u` + p + `"}}}`,
		"a text":              `"` + p + `"`,
		"auths a text":        `{"auths": "` + p + `"}`,
		"entry a text":        auths("quay.io", `"`+p+`"`),
		"auth not base64":     auths("quay.io", `{"auth": "user:`+p+`"}`),
		"auth without colon":  auths("quay.io", authOf(p)),
		"auth a list":         auths("quay.io", `{"auth": ["`+p+`"]}`),
		"auth binary":         auths("quay.io", authOf("\xff:"+p)),
		"two opinions":        auths("quay.io", `{"auth": "`+b64("u:"+p)+`", "password": "x"}`),
		"no password":         auths("quay.io", authOf(p+":")),
		"key with userinfo":   auths("https://u:"+p+"@quay.io", `{}`),
		"key with userinfo 2": auths(p+"@quay.io", `{}`),
		"key like userinfo":   auths("user:"+p, `{}`),
		"URL like userinfo":   auths("https://user:"+p+"/v2/", `{}`),
		"top-level userinfo":  `{"https://u:` + p + `@quay.io": {}}`,
		"registrytoken":       auths("quay.io", `{"registrytoken": "`+p+`"}`),
		"unknown key":         auths("quay.io", `{"pass": "`+p+`"}`),
		"twice":               auths("docker.io", authOf("u:"+p), "index.docker.io", authOf("u:"+p+"2")),
		"entry twice":         `{"auths": {"quay.io": ` + authOf("u:"+p) + `, "quay.io": ` + authOf("u:"+p) + `}}`,
		"not UTF-8":           "\xff" + p,
	}
	for name, content := range secrets {
		t.Run("pull secret "+name, func(t *testing.T) {
			s := newSite(t)
			s.pullSecret(content)
			// The same file where YAML, certificates, users or keys belong.
			s.env["CONFIG_FILE"] = s.env["PULLSECRETPATH"]
			s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.env["PULLSECRETPATH"]
			s.file("certs/certs.pem", content)
			requireHidden(t, strings.Join(s.mistakes(), "\n"))
		})
	}
	for name, content := range map[string]string{
		"userinfo":       "upstreams: {quay.io: {url: 'https://u:" + p + "@quay.io'}}",
		"broken URL":     "upstreams: {quay.io: {url: 'https://u:" + p + "%zz@quay.io:x'}}",
		"flag":           "upstreams: {quay.io: {insecureSkipVerify: " + p + "}}",
		"flag by tag":    "upstreams: {quay.io: {insecureSkipVerify: !!bool " + p + "}}",
		"upstream":       "upstreams: {quay.io: " + p + "}",
		"long text":      "upstreams: {quay.io: \"" + p + "\\n`\\n" + p + "\"}",
		"realm":          "upstreams: {quay.io: {tokenRealms: ['u:" + p + "@a']}}",
		"unknown key":    "upstreams: {quay.io: {password: " + p + "}}",
		"anchor":         "upstreams: {quay.io: {password: *" + p + "}}",
		"host":           "upstreams: {'u:" + p + "@quay.io': {}}",
		"complex key":    "upstreams:\n  ? {password: " + p + "}\n  : x\n",
		"complex key 2":  "? [" + p + "]\n: x\n",
		"pushing user":   "hosted: {prefix: local, push: ['u:" + p + "']}",
		"binary by tag":  "upstreams: {quay.io: {url: !!binary '" + p + "!'}}",
		"integer by tag": "upstreams: {quay.io: {url: !!int " + p + "}}",
	} {
		t.Run("config file "+name, func(t *testing.T) {
			s := newSite(t)
			s.configFile(content)
			requireHidden(t, strings.Join(s.mistakes(), "\n"))
		})
	}
	for variable, value := range map[string]string{
		"HTTP_PROXY":                "ftp://u:" + p + "@proxy.lab",
		"https_proxy":               "http://u:" + p + "%zz@proxy.lab",
		"REGISTRY_AUTH":             "user:" + p,
		"REGISTRY_AUTH_TOKEN_REALM": "https://u:" + p + "@auth.lab",
		"DEFAULT_REGISTRY":          "https://u:" + p + "@quay.io",
		"CLEANER_PASSWORD":          p,
	} {
		t.Run(variable, func(t *testing.T) {
			s := newSite(t)
			s.env[variable] = value
			requireHidden(t, strings.Join(s.mistakes(), "\n"))
		})
	}
	t.Run("htpasswd", func(t *testing.T) {
		s := newSite(t)
		s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", p+"\nuser:"+p+"\n"+p+":"+goodHash+"\n"+p+":"+goodHash+"\n:"+p+"\n")
		requireHidden(t, strings.Join(s.mistakes(), "\n"))
	})
}
