package main

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/config"
)

var updateExamples = flag.Bool("update-examples", false, "rewrite deploy/examples from what client-config prints")

// withoutConfiguration sets up the defaults, wherever the test runs.
func withoutConfiguration(t *testing.T) string {
	t.Helper()
	for _, v := range config.Describe() {
		for name := range strings.SplitSeq(v.Name, ", ") {
			t.Setenv(name, "")
		}
	}
	dir := t.TempDir()
	t.Setenv("CERTSDIR", filepath.Join(dir, "certs"))
	t.Setenv("REGISTRYDIR", filepath.Join(dir, "data"))
	t.Setenv("RUNDIR", filepath.Join(dir, "run"))
	return dir
}

// clientConfig runs the command.
func clientConfig(in string, args ...string) (out, notes string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := rootCommand()
	cmd.SetArgs(append([]string{"client-config"}, args...))
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

// The examples that the documentation points at are what the command prints
// without any configuration.
func TestClientConfigExamples(t *testing.T) {
	withoutConfiguration(t)
	if _, err := os.Stat("/pull-secret.json"); err == nil {
		t.Skip("SKIPPED: there is a /pull-secret.json, so that the defaults don't hold")
	}
	root := filepath.Join("..", "..", "deploy", "examples")
	made := map[string]bool{}
	for _, example := range [][]string{
		{"containers", "registries.conf"},
		{"containers/registries.conf.d", "registries.conf", "--drop-in"},
		{"openshift", "icsp"},
		{"openshift", "idms"},
		{"openshift", "itms"},
		{"openshift/machineconfig", "machineconfig"},
		{"containerd/path", "containerd"},
		{"containerd/ns", "containerd", "--mode", "ns"},
		{"docker", "docker"},
	} {
		dir, args := example[0], example[1:]
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			to := t.TempDir()
			if *updateExamples {
				to = filepath.Join(root, dir)
			}
			out, _, err := clientConfig("", append(args, "--host", "cache.local:8443", "--output", to)...)
			require.NoError(t, err)
			for line := range strings.Lines(out) {
				path := strings.TrimSpace(strings.TrimPrefix(line, "wrote "))
				name, err := filepath.Rel(to, path)
				require.NoError(t, err)
				made[filepath.Join(root, dir, name)] = true
				got, err := os.ReadFile(path)
				require.NoError(t, err)
				want, err := os.ReadFile(filepath.Join(root, dir, name))
				require.NoError(t, err)
				require.Equal(t, string(want), string(got), "go test ./cmd/registry-cache -run TestClientConfigExamples -update-examples")
			}
		})
	}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		require.True(t, err != nil || entry.IsDir() || made[path], "nothing makes %s", path)
		return err
	}))
}

func TestClientConfigFollowsTheConfiguration(t *testing.T) {
	dir := withoutConfiguration(t)
	secret := filepath.Join(dir, "pull-secret.json")
	require.NoError(t, os.WriteFile(secret, []byte(`{"auths":{"quay.io":{},"quay.io/org":{},"registry.lab:5000":{}}}`), 0o600))
	t.Setenv("PULLSECRETPATH", secret)
	out, notes, err := clientConfig("", "containerd", "--host", "cache.local:8443", "--insecure")
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(out, "# ==> "))
	require.Contains(t, out, `[host."http://cache.local:8443/v2/registry.lab_5000"]`, "there is no certificate")
	require.Empty(t, notes)
	out, notes, err = clientConfig("", "containerd", "--host", "cache.local:8443", "--only", "registry.lab:5000/hosts.toml")
	require.NoError(t, err)
	require.NotContains(t, out, "quay.io")
	require.Contains(t, out, `[host."https://cache.local:8443/v2/registry.lab_5000"]`)
	require.Contains(t, notes, "--insecure")

	t.Setenv("TAG_MAX_AGE", "soon")
	_, _, err = clientConfig("", "idms", "--host", "cache.local:8443")
	var invalid *config.InvalidError
	require.ErrorAs(t, err, &invalid)
}

func TestClientConfigMistakes(t *testing.T) {
	dir := withoutConfiguration(t)
	kinds := "there are ca, containerd, docker, icsp, idms, itms, machineconfig, pull-secret, registries.conf"
	host := []string{"--host", "cache.local:8443"}
	for says, args := range map[string][]string{
		"KIND is missing; " + kinds: {},
		"there is no KIND \"contanerd\" (did you mean containerd?); " + kinds: {"contanerd", "--mode", "ns"},
		"there is no KIND \"x\"; " + kinds:                                    append(host, "x"),
		"--host is missing":                                                   {"idms"},
		"--host \"cache\" has no dot":                                         {"idms", "--host", "cache"},
		"--host is empty":                                                     {"idms", "--host", ""},
		"there are worker.yaml, master.yaml":                                  append(host, "machineconfig", "--only", "x"),
		"--mode \"query\": write path or ns":                                  append(host, "containerd", "--mode", "query"),
		"--ca: open":                                                          append(host, "ca", "--ca", filepath.Join(dir, "none")),
		"CERTSDIR has no certificate here":                                    append(host, "ca"),
		"--username is missing":                                               append(host, "pull-secret", "--password-stdin"),
		"no terminal to ask for the password":                                 append(host, "pull-secret", "-u", "x"),
		"--merge: open":                                                       append(host, "pull-secret", "-u", "x", "--password-stdin", "--merge", filepath.Join(dir, "none")),
		"--password-file: open":                                               append(host, "pull-secret", "-u", "x", "--password-file", filepath.Join(dir, "none")),
		"[password-file password-stdin] were all set":                         append(host, "pull-secret", "-u", "x", "--password-file", "x", "--password-stdin"),
		"unknown command \"more\" for \"registry-cache client-config idms\"":  append(host, "idms", "more"),
		"mirror sets of OpenShift can't say":                                  append(host, "idms", "--insecure"),
		"the password has more than one line":                                 append(host, "pull-secret", "-u", "x", "--password-stdin"),
	} {
		t.Run(says, func(t *testing.T) {
			_, _, err := clientConfig("a\nb\n", args...)
			require.ErrorContains(t, err, says)
		})
	}
}

func TestClientConfigPullSecret(t *testing.T) {
	dir := withoutConfiguration(t)
	password, existing := filepath.Join(dir, "password"), filepath.Join(dir, "pull-secret.json")
	require.NoError(t, os.WriteFile(password, []byte("pass:w0rd\n"), 0o600))
	require.NoError(t, os.WriteFile(existing, []byte(`{"auths":{"quay.io":{"auth":"YTpi"}}}`), 0o644))
	args := []string{"pull-secret", "--host", "cache.local:8443", "-u", "robot"}
	const entry = `"cache.local:8443": {"auth": "cm9ib3Q6cGFzczp3MHJk"}`
	out, notes, err := clientConfig("pass:w0rd\r\n", append(args, "--password-stdin")...)
	require.NoError(t, err)
	require.JSONEq(t, `{"auths": {`+entry+`}}`, out)
	require.Contains(t, notes, "REGISTRY_AUTH is not set")
	require.NotContains(t, notes, "w0rd")
	out, _, err = clientConfig("", append(args, "--password-file", password, "--merge", existing, "--output", dir)...)
	require.NoError(t, err)
	require.Equal(t, "wrote "+existing+"\n", out)
	content, err := os.ReadFile(existing)
	require.NoError(t, err)
	require.JSONEq(t, `{"auths": {"quay.io": {"auth": "YTpi"}, `+entry+`}}`, string(content))
	info, err := os.Stat(existing)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	_, _, err = clientConfig(strings.Repeat("x", maxPassword+1), append(args, "--password-stdin")...)
	require.ErrorContains(t, err, "longer than")
	require.NoError(t, os.WriteFile(existing, []byte("secret{"), 0o600))
	_, _, err = clientConfig("x", append(args, "--password-stdin", "--merge", existing)...)
	require.ErrorContains(t, err, existing)
	require.NotContains(t, err.Error(), "secret{")
	require.False(t, errors.Is(err, errReported))
}

// A cache that wants a login is of no use to clients that send it none.
func TestClientConfigSaysWhoLogsIn(t *testing.T) {
	dir := withoutConfiguration(t)
	users := filepath.Join(dir, "htpasswd")
	hash, err := bcrypt.GenerateFromPassword([]byte("pass:w0rd"), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(users, []byte("robot:"+string(hash)+"\n"), 0o600))
	t.Setenv("REGISTRY_AUTH_HTPASSWD_PATH", users)
	t.Setenv("REGISTRY_AUTH_HTPASSWD_REALM", "cache")
	host := []string{"--host", "cache.local:8443"}
	_, notes, err := clientConfig("", append(host, "docker")...)
	require.NoError(t, err)
	require.Contains(t, notes, "docker login cache.local:8443")
	out, notes, err := clientConfig("", append(host, "containerd")...)
	require.NoError(t, err)
	require.Contains(t, notes, "add --username")
	require.NotContains(t, out, "Authorization")
	out, notes, err = clientConfig("pass:w0rd\n", append(host, "containerd", "-u", "robot", "--password-stdin")...)
	require.NoError(t, err)
	require.NotContains(t, notes, "login")
	require.Equal(t, strings.Count(out, "[host."), 2*strings.Count(out, `Authorization = "Basic cm9ib3Q6cGFzczp3MHJk"`))
	_, _, err = clientConfig("x", append(host, "containerd", "--password-stdin")...)
	require.ErrorContains(t, err, "--username is missing")
}

func TestClientConfigHelpHasAnExampleForEachKind(t *testing.T) {
	cmd := clientConfigCommand()
	for _, kind := range cmd.Commands() {
		require.Contains(t, kind.Example, "client-config "+kind.Name()+" ", kind.Name())
		require.Contains(t, cmd.Example, kind.Example)
		require.NotEmpty(t, kind.Long)
	}
}
