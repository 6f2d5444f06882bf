package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadVariables(t *testing.T) {
	const (
		durationForm = "write a number and a unit, such as 90s, 30m, 12h or 7d"
		sizeForm     = "is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30)"
		freeForm     = "is neither a percentage of the disk nor a size; write for example 5%, 20GiB or off"
		percentForm  = "is not a percentage; write a whole number from 0 to 100, such as 20"
		listenForm   = "is not an address to listen on; write :8443, 127.0.0.1:8443 or [::1]:8443"
	)
	for _, test := range []struct{ name, value, want string }{
		{"LISTEN_ADDR", "8443", `"8443" ` + listenForm},
		{"LISTEN_ADDR", ":https", `":https" ` + listenForm},
		{"LISTEN_ADDR", ":65536", `":65536" ` + listenForm},
		{"LISTEN_ADDR", "http://localhost:8443", `"http://localhost:8443" ` + listenForm},
		{"LISTEN_ADDR", "::1:8443", `"::1:8443" ` + listenForm},
		{"METRICS_ADDR", "local host:1", `"local host:1" ` + listenForm},
		{"METRICS_ADDR", ":8443", ":8443 can't be listened on beside LISTEN_ADDR :8443; use another port"},
		{"METRICS_ADDR", "127.0.0.1:8443", "127.0.0.1:8443 can't be listened on beside LISTEN_ADDR :8443; use another port"},
		{"TAG_MAX_AGE", "30", `"30" is not a duration; ` + durationForm},
		{"TAG_MAX_AGE", "-30m", `"-30m" is negative; write a duration such as 90s, 30m, 12h or 7d`},
		{"TAG_MAX_AGE", "always", `"always" is not a duration; ` + durationForm},
		{"TAG_STALE_IF_ERROR", "never", `"never" is not a duration; ` + durationForm + ", or always"},
		{"PPROF", "on", `"on" is neither true nor false`},
		{"OFFLINE", "yes", `"yes" is neither true nor false`},
		{"CLEANER_MAXSIZE", "10X", `"10X" ` + sizeForm},
		{"CLEANER_MAXSIZE", "-10G", `"-10G" ` + sizeForm},
		{"CLEANER_MAXSIZE", "0", `"0" ` + sizeForm},
		{"CLEANER_MAXSIZE", "9E", ""},
		{"CLEANER_MAXSIZE", "10E", `"10E" ` + sizeForm},
		{"CLEANER_THRESHOLD_PERCENTAGE", "101", `"101" ` + percentForm},
		{"CLEANER_THRESHOLD_PERCENTAGE", "-1", `"-1" ` + percentForm},
		{"CLEANER_THRESHOLD_PERCENTAGE", "2.5", `"2.5" ` + percentForm},
		{"CLEANER_RUNEVERY_TIME", "0", `"0" is no time at all; write a duration such as 90s, 30m, 12h or 7d`},
		{"CLEANER_RUNEVERY_TIME", "half an hour", `"half an hour" is not a duration; ` + durationForm},
		{"CLEANER_MIN_FREE", "100%", `"100%" ` + freeForm},
		{"CLEANER_MIN_FREE", "NaN%", `"NaN%" ` + freeForm},
		{"CLEANER_MIN_FREE", "5 percent", `"5 percent" ` + freeForm},
		{"CLEANER_MAXAGE", "0", `"0" is no time at all; write a duration such as 90s, 30m, 12h or 7d, or off`},
		{"LOG_LEVEL", "verbose", `"verbose" is not a log level; write one of trace, debug, info, warn, error, fatal, panic, disabled`},
		{"LOG_LEVEL", "3", `"3" is not a log level; write one of trace, debug, info, warn, error, fatal, panic, disabled`},
		{"LOG_FORMAT", "xml", `"xml" is not a log format; write one of console, json`},
		{"DEFAULT_REGISTRY", "docker", ""},
		{"DEFAULT_REGISTRY", "docker.io/library", `"docker.io/library" is neither the host nor an alias of an upstream; write for example docker.io`},
		{"DEFAULT_REGISTRY", "docker_.io", `"docker_.io" is neither the host nor an alias of an upstream; write for example docker.io`},
		{"RUNDIR", "/" + strings.Repeat("r", 85), "/" + strings.Repeat("r", 85) + " is too long for the address of a unix socket; use a path of at most 85 bytes"},
		{"RUNDIR", "/" + strings.Repeat("r", 84), ""},
		{"RUNDIR", "/dev/null", "/dev/null is not a directory"},
		{"REGISTRYDIR", "/dev/null", "/dev/null is not a directory"},
		{"CERTSDIR", "/dev/null", "/dev/null is not a directory"},
		{"ACCESS_LOG", "/dev", "/dev is a directory; name a file, such as /dev/access.log"},
		{"CLEANER_MAXSIZ", "1", "is not a setting; did you mean CLEANER_MAXSIZE? (known are CLEANER_MAXSIZE, CLEANER_THRESHOLD_PERCENTAGE, " +
			"CLEANER_RUNEVERY_TIME, CLEANER_MIN_FREE, CLEANER_MAXAGE, CLEANER_BTWDELETES_TIME)"},
		{"CLEANER_X", "1", "is not a setting; known are CLEANER_MAXSIZE, CLEANER_THRESHOLD_PERCENTAGE, " +
			"CLEANER_RUNEVERY_TIME, CLEANER_MIN_FREE, CLEANER_MAXAGE, CLEANER_BTWDELETES_TIME"},
		{"CONFIG_FILE", "/nowhere/config.yaml", "/nowhere/config.yaml does not exist"},
		{"CONFIG_FILE", "/dev/null", "/dev/null is not a regular file, so a reload could not read it again"},
		{"PULLSECRETPATH", "/nowhere/pull.json", "/nowhere/pull.json does not exist"},
		{"PULLSECRETPATH", "/dev", "/dev is a directory, a file is needed; a container engine makes a directory when what it should mount is missing on the host"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			s := newSite(t)
			s.env[test.name] = test.value
			if test.want == "" {
				s.load()
				return
			}
			s.requireMistakes(test.name + ": " + test.want)
		})
	}
}

func TestUnknownAuthVariableListsTheKnown(t *testing.T) {
	s := newSite(t)
	s.env["REGISTRY_AUTH_HTPASSWD_PTH"] = "/x"
	list := s.mistakes()
	require.Len(t, list, 1)
	assert.Contains(t, list[0], "REGISTRY_AUTH_HTPASSWD_PTH: is not a setting; did you mean REGISTRY_AUTH_HTPASSWD_PATH? (known are ")
	assert.Contains(t, list[0], "REGISTRY_AUTH_TOKEN_JWKS")
}

func TestServiceLinksAreNoMistake(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{
		"CLEANER_SERVICE_HOST", "CLEANER_SERVICE_PORT", "CLEANER_SERVICE_PORT_HTTP", "CLEANER_PORT",
		"REGISTRY_AUTH_PORT_5001_TCP", "REGISTRY_AUTH_PORT_5001_TCP_ADDR", "REGISTRY_AUTH_SERVICE_HOST",
	} {
		s.env[name] = "tcp://10.0.0.1:5001"
	}
	s.load()
}

func TestAuthFileOfPodmanIsNoMistake(t *testing.T) {
	s := newSite(t)
	s.env["REGISTRY_AUTH_FILE"] = "/run/user/1000/containers/auth.json"
	s.load()
}

func TestSlipsOutsideOurPrefixesAreNotices(t *testing.T) {
	s := newSite(t)
	s.env["TAG_MAXAGE"] = "1m"
	s.env["FTP_PROXY"] = "x"
	s.env["ONLINE"] = "1"
	s.env["RUN_DIR"] = "/x" // RUNDIR is set as well, so this one is not ours
	cfg := s.load()
	s.requireNotice("TAG_MAXAGE is not a setting; did you mean TAG_MAX_AGE?")
	for _, other := range []string{"FTP_PROXY", "ONLINE", "RUN_DIR"} {
		assert.NotContains(t, strings.Join(cfg.Notices, "\n"), other)
	}
}

func TestTinyStoreIsNoticed(t *testing.T) {
	s := newSite(t)
	s.env["CLEANER_MAXSIZE"] = "10"
	s.requireNotice("CLEANER_MAXSIZE is 10 bytes, so next to nothing stays cached; sizes have a unit, such as 10G")
}

func TestDefaultRegistry(t *testing.T) {
	for _, test := range []struct{ value, want, notice string }{
		{"quay.io", "quay.io", ""},
		{"q", "quay.io", ""},
		{"https://registry-1.docker.io", "docker.io", "DEFAULT_REGISTRY docker.io is not a configured upstream"},
		{"registry.lab:5000", "registry.lab_5000", ""},
		{"registry.lab_5000", "registry.lab_5000", ""},
		{"other.lab:5000", "other.lab_5000", "configured are quay.io, registry.lab_5000"},
	} {
		s := newSite(t)
		s.configFile("upstreams: {quay.io: {aliases: [q]}, 'registry.lab:5000': {}}")
		s.env["DEFAULT_REGISTRY"] = test.value
		assert.Equal(t, test.want, s.load().DefaultRegistry, test.value)
		if test.notice != "" {
			s.requireNotice(test.notice)
		} else {
			assert.NotContains(t, strings.Join(s.load().Notices, "\n"), "DEFAULT_REGISTRY")
		}
	}
}

func TestDescribe(t *testing.T) {
	byName := map[string]Variable{}
	for _, v := range Describe() {
		assert.NotEmpty(t, v.Meaning, v.Name)
		assert.NotContains(t, byName, v.Name)
		byName[v.Name] = v
	}
	assert.Equal(t, "10G", byName["CLEANER_MAXSIZE"].Default)
	assert.Equal(t, "$RUNDIR/log/access.log", byName["ACCESS_LOG"].Default)
	assert.Equal(t, "none", byName["REGISTRY_AUTH"].Default)
	assert.NotContains(t, byName, "http_proxy")
	assert.Equal(t, "PULLSECRETPATH", Describe()[0].Name)
}

func TestWatchHasEveryFile(t *testing.T) {
	s := newSite(t)
	ca := s.file("ca.pem", string(encodeCertificates(newAuthority(t).chain)))
	s.configFile("upstreams: {quay.io: {ca: ca.pem}}")
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = s.file("htpasswd", "u:"+goodHash)
	want := []string{s.env["CONFIG_FILE"], s.env["PULLSECRETPATH"], ca}
	for _, name := range []string{"certs.pem", "tls.crt", "tls.key", "domain.crt", "domain.key"} {
		want = append(want, filepath.Join(s.dir, "certs", name))
	}
	require.Equal(t, append(want, s.env["REGISTRY_AUTH_HTPASSWD_PATH"]), s.load().Watch)
}
