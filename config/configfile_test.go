package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigFile(t *testing.T) {
	s := newSite(t)
	authority := newAuthority(t)
	s.file("certs/quay-ca.pem", string(authority.pair(t)))
	s.env["TAG_MAX_AGE"] = "1m"
	s.env["TAG_STALE_IF_ERROR"] = "1h"
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	s.configFile(`
upstreams:
  quay.io:
    url: http://127.0.0.1:6000/
    aliases: [q, quay]
    ca: certs/quay-ca.pem
    insecureSkipVerify: true
    tokenRealms: [Auth.example.com, "auth.lab:8443", "[::1]:8443"]
    repositories: ["podman/*", "c[ao]t"]
    tagMaxAge: 0
    staleIfError: always
    maxSize: 5GiB
    staleWhileRevalidate: 5m
    idleTimeout: 10s
    parallelFrom: 64MiB
    connections: 8
  Index.docker.io:
  registry.lab:5000: {tagMaxAge: 5m}
  ghcr.io: &defaults {staleIfError: 2h}
  gcr.io: *defaults
hosted:
  prefix: local
  push: [alice]
pin: ["quay.io/podman/*", "docker.io/library/busybox:1.36"]
`)
	cfg := s.load()
	require.Empty(t, cmp.Diff([]Upstream{
		{Name: "docker.io", Path: "docker.io", URL: "https://registry-1.docker.io", TagMaxAge: time.Minute, StaleIfError: time.Hour},
		{Name: "gcr.io", Path: "gcr.io", URL: "https://gcr.io", TagMaxAge: time.Minute, StaleIfError: 2 * time.Hour},
		{Name: "ghcr.io", Path: "ghcr.io", URL: "https://ghcr.io", TagMaxAge: time.Minute, StaleIfError: 2 * time.Hour},
		{
			Name: "quay.io", Path: "quay.io", URL: "http://127.0.0.1:6000", Aliases: []string{"q", "quay"},
			Credentials:        []Credential{{Username: "user", Password: "pass"}},
			CA:                 encodeCertificates(authority.chain),
			InsecureSkipVerify: true,
			TokenRealms:        []string{"auth.example.com", "auth.lab:8443", "[::1]:8443"},
			Repositories:       []string{"podman/*", "c[ao]t"},
			StaleIfError:       Always,
			MaxSize:            5 << 30,

			StaleWhileRevalidate: 5 * time.Minute,
			IdleTimeout:          10 * time.Second,
			ParallelFrom:         64 << 20,
			Connections:          8,
		},
		{Name: "registry.lab:5000", Path: "registry.lab_5000", URL: "https://registry.lab:5000", TagMaxAge: 5 * time.Minute, StaleIfError: time.Hour},
	}, cfg.Upstreams))
	assert.Equal(t, &Hosted{Prefix: "local", Push: []string{"alice"}}, cfg.Hosted)
	assert.Equal(t, []string{"quay.io/podman/*", "docker.io/library/busybox:1.36"}, cfg.Pin)
	s.requireNotice("the certificate of quay.io is not verified")
}

func TestHarmlessConfigFiles(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n", "{}", "upstreams:\nhosted:\npin:\n", "upstreams: {quay.io: }", "\ufeffpin: []\n"} {
		s := newSite(t)
		s.configFile(content)
		require.Len(t, s.load().Upstreams, 1, "%q", content)
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"https://Quay.io":                     "https://quay.io",
		"https://quay.io/":                    "https://quay.io",
		"http://[::1]:5000":                   "http://[::1]:5000",
		"https://art.lab/api/docker/remote/":  "https://art.lab/api/docker/remote",
		"https://quay.io:8443\n":              "https://quay.io:8443",
		"HTTPS://quay.io":                     "https://quay.io",
		"https://quay.io/with%20space/prefix": "https://quay.io/with%20space/prefix",
	} {
		got, err := parseBaseURL(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for text, want := range map[string]error{
		"quay.io":                 errURLForm,
		"quay.io:443":             errURLForm,
		"ftp://quay.io":           errURLForm,
		"https://":                errURLForm,
		"https://:443":            errURLForm,
		"https://quay.io:https":   errURLForm,
		"https://quay.io:0":       errURLForm,
		"https://[::1":            errURLForm,
		"https://a b":             errURLForm,
		"https://u:p@quay.io":     errURLUserinfo,
		"https://u:p%zz@quay.io":  errURLUserinfo,
		"https://quay.io?ns=x":    errURLQuery,
		"https://quay.io/#":       errURLQuery,
		"https://quay.io/v2/":     errURLVersion,
		"https://quay.io/mirr/v2": errURLVersion,
	} {
		_, err := parseBaseURL(text)
		require.ErrorIs(t, err, want, text)
	}
}

func TestBadConfigFiles(t *testing.T) {
	const partForm = " can't be a part of an image's name; write lower-case letters and digits, with single dots, hyphens or underscores between them"
	for name, test := range map[string]struct{ content, want string }{
		"syntax":               {"upstreams:\n  quay.io: [\n", ":2: not YAML as expected: did not find expected node content"},
		"tab":                  {"upstreams:\n\tquay.io:\n", ":2: not YAML as expected: found character that cannot start any token"},
		"a list":               {"- quay.io\n", ":1: the value has the wrong form; write a mapping with upstreams, hosted or pin"},
		"two documents":        {"pin: []\n---\npin: []\n", ":2: a second document begins here; write one"},
		"unknown key":          {"upstream: {}\n", `:1: unknown key "upstream"; did you mean upstreams? (known are upstreams, hosted, pin)`},
		"unknown upstream key": {"upstreams:\n  quay.io:\n    password: x\n", `:3: unknown key "password"; known are url, aliases, ca, insecureSkipVerify, tokenRealms, repositories, tagMaxAge, staleIfError, maxSize, staleWhileRevalidate, idleTimeout, parallelFrom, connections`},
		"wrong case":           {"upstreams:\n  quay.io:\n    URL: x\n", `:3: unknown key "URL"; did you mean url? (known are url, aliases, ca, insecureSkipVerify, tokenRealms, repositories, tagMaxAge, staleIfError, maxSize, staleWhileRevalidate, idleTimeout, parallelFrom, connections)`},
		"unknown hosted key":   {"hosted: {prefixes: x, prefix: y}\n", `:1: unknown key "prefixes"; did you mean prefix? (known are prefix, push)`},
		"key twice":            {"upstreams:\n  quay.io: {}\n  quay.io: {}\n", `:3: not YAML as expected: mapping key "quay.io" already defined at line 2`},
		"alias unknown":        {"upstreams: {quay.io: *nope}\n", `: not YAML as expected: unknown anchor referenced`},
		"not a flag":           {"upstreams:\n  quay.io:\n    insecureSkipVerify: maybe\n", ":3: the value has the wrong form; write true or false"},
		"not a list":           {"upstreams:\n  quay.io:\n    aliases: q\n", ":3: the value has the wrong form; write a list, such as [one, two]"},
		"not a text":           {"upstreams:\n  quay.io:\n    url: [x]\n", ":3: the value has the wrong form; write a single text"},
		"upstream a text":      {"upstreams:\n  quay.io: https://quay.io\n", ":2: the value has the wrong form; write a mapping, such as {url: https://quay.io}"},
		"upstreams a list":     {"upstreams:\n  - quay.io\n", ":2: the value has the wrong form; write a mapping of hosts, such as {quay.io: {aliases: [q]}}"},
		"hosted a text":        {"hosted: local\n", ":1: the value has the wrong form; write a mapping, such as {prefix: local}"},
		"host with scheme":     {"upstreams:\n  https://quay.io: {}\n", ":2: upstreams.https://quay.io: the key must be a host alone, such as quay.io"},
		"host with scope":      {"upstreams:\n  quay.io/org: {}\n", ":2: upstreams.quay.io/org: the key must be a host alone, such as quay.io"},
		"host bad":             {"upstreams:\n  quay..io: {}\n", ":2: upstreams.quay..io: the key " + errKeyHost.Error()},
		"host twice":           {"upstreams:\n  docker.io: {}\n  index.docker.io: {}\n", ":3: upstreams.index.docker.io: is the same registry as docker.io; keep one"},
		"url":                  {"upstreams:\n  quay.io:\n    url: quay.io\n", ":3: upstreams.quay.io.url: " + errURLForm.Error()},
		"ca missing":           {"upstreams:\n  quay.io:\n    ca: nowhere.pem\n", ":3: upstreams.quay.io.ca: nowhere.pem does not exist"},
		"ca empty":             {"upstreams:\n  quay.io:\n    ca: config.yaml\n", ":3: upstreams.quay.io.ca: config.yaml: no certificate is in the file; it must hold PEM, -----BEGIN CERTIFICATE-----"},
		"realm":                {"upstreams:\n  quay.io:\n    tokenRealms: [a.b, 'https://auth.example.com']\n", ":3: upstreams.quay.io.tokenRealms[1]: is not a host; write host or host:port, such as auth.example.com"},
		"no repositories":      {"upstreams:\n  quay.io:\n    repositories: []\n", ":3: upstreams.quay.io.repositories: is an empty list; leave it out to allow everything, or remove the upstream to allow nothing"},
		"bad pattern":          {"upstreams:\n  quay.io:\n    repositories:\n      - ok/*\n      - '[a'\n", `:5: upstreams.quay.io.repositories[1]: "[a" is not a pattern: a [ is not closed or a \ ends it; write for example podman/*`},
		"rooted pattern":       {"upstreams:\n  quay.io:\n    repositories: [/a]\n", `:3: upstreams.quay.io.repositories[0]: "/a" can't match, since names have no empty parts; write for example podman/*`},
		"pattern with host":    {"upstreams:\n  quay.io:\n    repositories: [quay.io/podman/*]\n", `:3: upstreams.quay.io.repositories[0]: "quay.io/podman/*" begins with the upstream, which is left out here; write podman/*`},
		"upper-case pattern":   {"upstreams:\n  quay.io:\n    repositories: [Podman/*]\n", `:3: upstreams.quay.io.repositories[0]: "Podman/*" can't match, since repository names are lower case; write for example podman/*`},
		"duration":             {"upstreams:\n  quay.io:\n    tagMaxAge: 5\n", `:3: upstreams.quay.io.tagMaxAge: "5" is not a duration; write a number and a unit, such as 90s, 30m, 12h or 7d`},
		"stale":                {"upstreams:\n  quay.io:\n    staleIfError: never\n", `:3: upstreams.quay.io.staleIfError: "never" is not a duration; write a number and a unit, such as 90s, 30m, 12h or 7d, or always`},
		"size":                 {"upstreams:\n  quay.io:\n    maxSize: 5X\n", `:3: upstreams.quay.io.maxSize: "5X" is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30)`},
		"stale while":          {"upstreams:\n  quay.io:\n    staleWhileRevalidate: always\n", `:3: upstreams.quay.io.staleWhileRevalidate: "always" is not a duration; write a number and a unit, such as 90s, 30m, 12h or 7d`},
		"no idle time":         {"upstreams:\n  quay.io:\n    idleTimeout: 0s\n", `:3: upstreams.quay.io.idleTimeout: "0s" is no time at all; write a duration such as 90s, 30m, 12h or 7d`},
		"parallel from 0":      {"upstreams:\n  quay.io:\n    parallelFrom: 0\n", `:3: upstreams.quay.io.parallelFrom: "0" is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30)`},
		"no connection":        {"upstreams:\n  quay.io:\n    connections: 0\n", `:3: upstreams.quay.io.connections: "0" is not a number of connections; write a whole number from 1 to 16, such as 4`},
		"many connections":     {"upstreams:\n  quay.io:\n    connections: 17\n", `:3: upstreams.quay.io.connections: "17" is not a number of connections; write a whole number from 1 to 16, such as 4`},
		"alias with slash":     {"upstreams:\n  quay.io:\n    aliases: [a/b]\n", `:3: upstreams.quay.io.aliases[0]: "a/b"` + partForm},
		"alias empty":          {"upstreams:\n  quay.io:\n    aliases: ['']\n", `:3: upstreams.quay.io.aliases[0]: ""` + partForm},
		"alias upper case":     {"upstreams:\n  quay.io:\n    aliases: [Q]\n", `:3: upstreams.quay.io.aliases[0]: "Q"` + partForm},
		"alias dots":           {"upstreams:\n  quay.io:\n    aliases: ['..']\n", `:3: upstreams.quay.io.aliases[0]: ".."` + partForm},
		"alias library":        {"upstreams:\n  quay.io:\n    aliases: [library]\n", ":3: upstreams.quay.io.aliases[0]: library is where Docker's official images are; choose another alias"},
		"alias twice":          {"upstreams:\n  quay.io:\n    aliases: [q, q]\n", ":3: upstreams.quay.io.aliases[1]: q is a name of quay.io already; leave it out"},
		"alias of itself":      {"upstreams:\n  quay.io:\n    aliases: [quay.io]\n", ":3: upstreams.quay.io.aliases[0]: quay.io is a name of quay.io already; leave it out"},
		"alias of two":         {"upstreams:\n  quay.io:\n    aliases: [q]\n  ghcr.io:\n    aliases: [q]\n", ":3: upstreams.quay.io.aliases[0]: q is a name of ghcr.io already; choose another alias"},
		"alias is a host":      {"upstreams:\n  ghcr.io:\n    aliases: [quay.io]\n", ":3: upstreams.ghcr.io.aliases[0]: quay.io is a name of quay.io already; choose another alias"},
		"alias is a path":      {"upstreams:\n  lab.io:5000:\n  ghcr.io:\n    aliases: [lab.io_5000]\n", ":4: upstreams.ghcr.io.aliases[0]: lab.io_5000 is a name of lab.io:5000 already; choose another alias"},
		"same path":            {"upstreams:\n  lab.io:5000:\n  lab.io_5000:\n", "upstream lab.io_5000: would be addressed as lab.io_5000, like lab.io:5000; remove one of the two"},
		"hosted without":       {"hosted: {push: []}\n", ":1: hosted.prefix: is missing; write the first part of the names to push to, such as prefix: local"},
		"hosted bad":           {"hosted:\n  prefix: a/b\n", `:2: hosted.prefix: "a/b" can't be a part of an image's name; write lower-case letters and digits, such as local`},
		"hosted is library":    {"hosted:\n  prefix: library\n", ":2: hosted.prefix: library is where Docker's official images are; choose another prefix"},
		"hosted clashes":       {"upstreams:\n  quay.io: {aliases: [q]}\nhosted:\n  prefix: q\n", ":4: hosted.prefix: q is a name of the upstream quay.io; choose another prefix"},
		"push without auth":    {"hosted:\n  prefix: local\n  push: [alice]\n", ": hosted.push: needs REGISTRY_AUTH, without which users can't be told apart"},
		"pin digest":           {"pin:\n  - quay.io/a@sha256:12\n", `:2: pin[0]: "quay.io/a@sha256:12" has a digest, and what is pinned are repositories and tags; write for example quay.io/a`},
		"pin without tag":      {"pin:\n  - 'lab.io:5000/a:'\n", `:2: pin[0]: "lab.io:5000/a:" ends where the tag should be; write for example lab.io:5000/a`},
		"pin upper case":       {"pin:\n  - quay.io/A:V1\n", `:2: pin[0]: "quay.io/A:V1" can't match, since repository names are lower case; write for example quay.io/a`},
		"pin":                  {"pin:\n  - a\n  - quay.io/\n", `:3: pin[1]: "quay.io/" can't match, since names have no empty parts; write for example quay.io/podman/*`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.configFile(test.content)
			want := test.want
			if strings.HasPrefix(want, ":") {
				want = "config.yaml" + want
			}
			s.requireMistakes(want)
		})
	}
}

func TestBadPushList(t *testing.T) {
	s := newSite(t)
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "alice:"+goodHash)
	s.configFile("hosted:\n  prefix: local\n  push:\n    - alice\n    - 'bob:x'\n    - alice\n")
	s.requireMistakes(
		"config.yaml:5: hosted.push[1]: is not the name of a user; write names as they stand in the htpasswd file",
		"config.yaml:6: hosted.push[2]: alice is listed twice; keep one",
	)
}

func TestQuotaAboveTheWhole(t *testing.T) {
	s := newSite(t)
	s.configFile("upstreams:\n  quay.io:\n    maxSize: 11G\n")
	s.requireNotice("config.yaml:3: upstreams.quay.io.maxSize has no effect: it is above CLEANER_MAXSIZE, 10 GB")
}

// A host in CONFIG_FILE alone is enough, and adds to the default upstreams.
func TestConfigFileWithoutPullSecret(t *testing.T) {
	s := newSite(t)
	s.pullSecret(`{"auths": {}}`)
	s.configFile("upstreams: {registry.lab: }")
	require.Len(t, s.load().Upstreams, 1)

	if exists("/pull-secret.json") {
		t.Skip("this machine has a pull secret at the default place")
	}
	delete(s.env, "PULLSECRETPATH")
	s.env["IGNOREREGISTRYLIST"] = "gcr.io quay.io"
	require.Len(t, s.load().Upstreams, len(defaultUpstreams)-2+1)
}

func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("upstreams:\n  quay.io: {url: 'http://a:1', aliases: [q], maxSize: 1G, tokenRealms: [a.b]}\nhosted: {prefix: local}\npin: ['a/*']\n"))
	f.Add([]byte("upstreams: {a: &x {aliases: [b]}, c: *x, <<: {d: }}"))
	f.Add([]byte("upstreams:\n  ? [a]\n  : b\n--- \n"))
	f.Add([]byte("hosted: !!binary x"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		l := &loader{cfg: &Config{}}
		path := filepath.Join(dir, "config.yaml")
		file := l.parseConfigFile(path, content)
		hosts := map[string]string{}
		if l.count() == 0 {
			hosts = l.fileHosts(file)
		}
		for host, key := range hosts {
			if file.Upstreams[key] != nil {
				file.Upstreams[key].CA = "" // no file but this one is read
			}
			u := l.newUpstream(host)
			l.applyFile(u, file, key)
			l.cfg.Upstreams = append(l.cfg.Upstreams, *u)
		}
		l.checkAddressing(file, hosts)
		l.loadPins(file)
		if err := l.err(); err != nil {
			require.Len(t, strings.Split(err.Error(), "\n"), 1+l.count())
			return
		}
		taken := map[string]bool{}
		for _, u := range l.cfg.Upstreams {
			for _, name := range append([]string{u.Path}, u.Aliases...) {
				require.Regexp(t, namePart, name)
				require.False(t, taken[name], name)
				taken[name] = true
			}
		}
	})
}
