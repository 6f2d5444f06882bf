package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/config"
)

const password = "s3cret:with:colons"

// basicRegistry wants one user's Basic credentials.
func basicRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "robot" || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// run executes the command line with a pull secret for registry.lab, whose
// address is url.
func run(t *testing.T, url, pass string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	secret, err := json.Marshal(map[string]any{"auths": map[string]any{
		"registry.lab": map[string]string{"username": "robot", "password": pass},
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pull-secret.json"), secret, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"),
		[]byte("upstreams: {registry.lab: {url: '"+url+"', aliases: [lab]}}"), 0o600))
	t.Setenv("PULLSECRETPATH", filepath.Join(dir, "pull-secret.json"))
	t.Setenv("CONFIG_FILE", filepath.Join(dir, "config.yaml"))
	t.Setenv("REGISTRYDIR", filepath.Join(dir, "data"))
	t.Setenv("RUNDIR", filepath.Join(dir, "run"))
	return execute(t, args...)
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestCheckAsksTheUpstream(t *testing.T) {
	out, err := run(t, basicRegistry(t), password, "check")
	require.NoError(t, err)
	require.Regexp(t, `registry\.lab +registry\.lab, lab +http://\S+ +robot +ok`, out)
	require.NotContains(t, out, password)
}

func TestCheckSaysThatCredentialsAreRefused(t *testing.T) {
	out, err := run(t, basicRegistry(t), "wrong", "check")
	require.ErrorIs(t, err, errReported)
	require.Regexp(t, `robot +FAILED: .*registry\.lab`, out)
	require.NotContains(t, out, "wrong")
}

func TestCheckSaysThatTheUpstreamIsUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	out, err := run(t, server.URL, password, "check")
	require.ErrorIs(t, err, errReported)
	require.Contains(t, out, "connection refused")
}

func TestCheckLocalAsksNobody(t *testing.T) {
	out, err := run(t, "http://127.0.0.1:1", password, "check", "--local", "--json")
	require.NoError(t, err)
	var report checkReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, []checkRow{{
		Upstream: "registry.lab", Path: "registry.lab", Aliases: []string{"lab"},
		URL: "http://127.0.0.1:1", Credentials: "robot",
	}}, report.Upstreams)
}

func TestCheckReportsAllMistakes(t *testing.T) {
	t.Setenv("CLEANER_MAXSIZE", "big")
	t.Setenv("TAG_MAX_AGE", "soon")
	t.Setenv("PULLSECRETPATH", filepath.Join(t.TempDir(), "missing.json"))
	_, err := execute(t, "check")
	var invalid *config.InvalidError
	require.ErrorAs(t, err, &invalid)
	for _, part := range []string{"CLEANER_MAXSIZE", "TAG_MAX_AGE", "missing.json"} {
		require.ErrorContains(t, err, part)
	}
}

func TestVersion(t *testing.T) {
	out, err := execute(t, "version", "--json")
	require.NoError(t, err)
	var v versionInfo
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	require.NotEmpty(t, v.Go)
	out, err = execute(t, "version")
	require.NoError(t, err)
	require.Contains(t, out, "registry-cache "+version)
}

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	addr := strings.TrimPrefix(server.URL, "http://")
	t.Setenv("METRICS_ADDR", addr)
	_, err := execute(t, "healthcheck")
	require.NoError(t, err)
	status = http.StatusInternalServerError
	_, err = execute(t, "healthcheck")
	require.ErrorContains(t, err, "500")
	server.Close()
	_, err = execute(t, "healthcheck")
	require.Error(t, err)
}

// Every command a user may call explains itself with an example.
func TestHelpHasExamples(t *testing.T) {
	for _, cmd := range rootCommand().Commands() {
		if cmd.Hidden {
			continue
		}
		out, err := execute(t, cmd.Name(), "--help")
		require.NoError(t, err)
		require.Contains(t, out, "Examples:", cmd.Name())
	}
}

func TestUnknownCommandAndFlag(t *testing.T) {
	for _, args := range [][]string{{"sreve"}, {"serve", "extra"}, {"check", "--jsno"}} {
		_, err := execute(t, args...)
		require.Error(t, err, args)
	}
}
