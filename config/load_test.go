package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"github.com/mattn/go-isatty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// site is a directory with the files of one configuration.
type site struct {
	t   *testing.T
	dir string
	env map[string]string
}

// newSite has a pull secret for quay.io and nothing else.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), env: map[string]string{}}
	s.env["CERTSDIR"] = filepath.Join(s.dir, "certs")
	s.env["REGISTRYDIR"] = filepath.Join(s.dir, "store")
	s.env["RUNDIR"] = "/run/registry-cache-test"
	s.pullSecret(`{"auths": {"quay.io": {"auth": "dXNlcjpwYXNz"}}}`)
	return s
}

func (s *site) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (s *site) pullSecret(content string) {
	s.t.Helper()
	s.env["PULLSECRETPATH"] = s.file("pull-secret.json", content)
}

func (s *site) configFile(content string) {
	s.t.Helper()
	s.env["CONFIG_FILE"] = s.file("config.yaml", content)
}

func (s *site) environ() []string {
	list := make([]string, 0, len(s.env))
	for name, value := range s.env {
		list = append(list, name+"="+value)
	}
	return list
}

// load wants a configuration without mistakes.
func (s *site) load() *Config {
	s.t.Helper()
	cfg, err := Load(s.environ())
	require.NoError(s.t, err)
	return cfg
}

// mistakes wants an invalid configuration. The site's directory is left out of
// the texts.
func (s *site) mistakes() []string {
	s.t.Helper()
	cfg, err := Load(s.environ())
	require.Nil(s.t, cfg)
	var invalid *InvalidError
	require.ErrorAs(s.t, err, &invalid)
	var list []string
	for _, m := range invalid.Mistakes.Errors {
		assert.NotContains(s.t, m.Error(), "\n")
		list = append(list, strings.ReplaceAll(m.Error(), s.dir+"/", ""))
	}
	return list
}

func (s *site) requireMistakes(want ...string) {
	s.t.Helper()
	require.Empty(s.t, cmp.Diff(want, s.mistakes()))
}

func (s *site) requireNotice(part string) {
	s.t.Helper()
	require.Contains(s.t, strings.Join(s.load().Notices, "\n"), part)
}

func TestDefaults(t *testing.T) {
	for _, path := range []string{"/pull-secret.json", "/etc/registry-cache/config.yaml", "/certs"} {
		if exists(path) {
			t.Skip("this machine has a " + path)
		}
	}
	cfg, err := Load([]string{"PATH=/bin", "TAG_MAX_AGE="})
	require.NoError(t, err)

	wantFormat := LogFormatJSON
	if isatty.IsTerminal(os.Stderr.Fd()) {
		wantFormat = LogFormatConsole
	}
	var names []string
	for _, u := range cfg.Upstreams {
		names = append(names, u.Name)
		assert.Empty(t, u.Credentials)
		assert.Equal(t, Always, u.StaleIfError)
		assert.Zero(t, u.TagMaxAge)
	}
	assert.Equal(t, []string{
		"docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "quay.io",
		"registry.access.redhat.com", "registry.k8s.io",
	}, names)
	assert.Equal(t, "https://registry-1.docker.io", cfg.Upstreams[0].URL)
	assert.Equal(t, "https://gcr.io", cfg.Upstreams[1].URL)
	assert.Len(t, cfg.Notices, 2, "%q", cfg.Notices) // anonymous, plain HTTP
	cfg.Upstreams, cfg.Notices = nil, nil
	require.Empty(t, cmp.Diff(&Config{
		DefaultRegistry: "docker.io",
		StoreDir:        "/var/lib/registry",
		RunDir:          "/run/registry-cache",
		ListenAddr:      ":8443",
		MetricsAddr:     ":9090",
		AccessLog:       "/run/registry-cache/log/access.log",
		LogLevel:        "info",
		LogFormat:       wantFormat,
		Cleaner: Cleaner{
			StoreDir: "/var/lib/registry", LogLevel: "info",
			MaxSize: 10_000_000_000, ThresholdPercent: 20, RunEvery: 30 * time.Minute, MinFreePercent: 5,
		},
		Drain: 30 * time.Second,
		Watch: []string{
			"/etc/registry-cache/config.yaml", "/pull-secret.json",
			"/certs/certs.pem", "/certs/tls.crt", "/certs/tls.key", "/certs/domain.crt", "/certs/domain.key",
		},
	}, cfg))
}

func TestEverySetting(t *testing.T) {
	s := newSite(t)
	for name, value := range map[string]string{
		"LISTEN_ADDR":                  "127.0.0.1:0",
		"METRICS_ADDR":                 "[::1]:9999",
		"ACCESS_LOG":                   "/var/log/../log/pulls.log",
		"LOG_LEVEL":                    "DEBUG",
		"LOG_FORMAT":                   "console",
		"OFFLINE":                      "TRUE",
		"TAG_MAX_AGE":                  "0",
		"TAG_STALE_IF_ERROR":           "7d",
		"CLEANER_MAXSIZE":              "10GiB",
		"CLEANER_THRESHOLD_PERCENTAGE": "5%",
		"CLEANER_RUNEVERY_TIME":        "90s",
		"CLEANER_MIN_FREE":             "20G",
		"CLEANER_MAXAGE":               "30d",
		"DEFAULT_REGISTRY":             "QUAY.io",
		"CLEANER_BTWDELETES_TIME":      "0.5",
		"PPROF":                        "true",
		"INITIALPORT":                  "5000",
	} {
		s.env[name] = value
	}
	cfg := s.load()
	assert.Equal(t, "127.0.0.1:0", cfg.ListenAddr)
	assert.Equal(t, "[::1]:9999", cfg.MetricsAddr)
	assert.Equal(t, "/var/log/pulls.log", cfg.AccessLog)
	assert.Equal(t, "debug", cfg.LogLevel)
	assert.Equal(t, "console", cfg.LogFormat)
	assert.True(t, cfg.Offline)
	assert.True(t, cfg.Router().Pprof && cfg.Logger().Pprof && cfg.Worker(cfg.Upstreams[0]).Pprof)
	assert.Equal(t, "quay.io", cfg.DefaultRegistry)
	assert.Equal(t, time.Duration(0), cfg.Upstreams[0].TagMaxAge)
	assert.Equal(t, 7*24*time.Hour, cfg.Upstreams[0].StaleIfError)
	assert.Equal(t, Cleaner{
		StoreDir: filepath.Join(s.dir, "store"), LogLevel: "debug", Pprof: true,
		MaxSize: 10 << 30, ThresholdPercent: 5, RunEvery: 90 * time.Second,
		MinFreeBytes: 20_000_000_000, MaxAge: 30 * 24 * time.Hour,
	}, cfg.Cleaner)
	s.requireNotice("CLEANER_BTWDELETES_TIME is accepted for compatibility and has no effect")
	s.requireNotice("INITIALPORT is accepted for compatibility and has no effect")
}

func TestRelativePathsBecomeAbsolute(t *testing.T) {
	s := newSite(t)
	s.env["REGISTRYDIR"] = "data/./store/"
	s.env["RUNDIR"] = "run"
	cwd, err := os.Getwd()
	require.NoError(t, err)
	cfg := s.load()
	assert.Equal(t, filepath.Join(cwd, "data/store"), cfg.StoreDir)
	assert.Equal(t, filepath.Join(cwd, "run/log/access.log"), cfg.AccessLog)
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	s := newSite(t)
	s.pullSecret(`{}`)
	s.configFile("upstreams: {quay.io: {maxSize: 1X}}\n")
	s.env["TAG_MAX_AGE"] = "5"
	s.env["OFFLINE"] = "maybe"
	s.env["REGISTRY_AUTH_HTPASSWD_PATH"] = filepath.Join(s.dir, "nowhere")
	s.file("certs/tls.crt", "")

	_, err := Load(s.environ())
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	var list *multierror.Error
	require.True(t, errors.As(err, &list))
	require.Len(t, list.Errors, 6)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 7)
	assert.Equal(t, "invalid configuration: 6 mistakes", lines[0])
	assert.Contains(t, lines[1], "  1. TAG_MAX_AGE: ")
	assert.Contains(t, lines[6], "  6. REGISTRY_AUTH_HTPASSWD_PATH: ")

	s = newSite(t)
	s.env["OFFLINE"] = "maybe"
	_, err = Load(s.environ())
	require.EqualError(t, err, "invalid configuration: 1 mistake\n  1. OFFLINE: \"maybe\" is neither true nor false")
}

func TestLoadChangesNothing(t *testing.T) {
	s := newSite(t)
	s.env["RUNDIR"] = filepath.Join(s.dir, "run")
	s.load()
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "only the pull secret")
}
