package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// deployDir is deploy/.
func deployDir(t *testing.T) string {
	t.Helper()
	root, err := harness.ModuleRoot()
	require.NoError(t, err)
	return filepath.Join(root, "deploy")
}

// tool finds a program that checks a file, and skips the test, by name, where
// there is none: what the file is about is tested elsewhere.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: %s is not installed", names[0])
	return ""
}

// runIn runs a tool that must succeed.
func runIn(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s:\n%s", cmd, out)
	return string(out)
}

// unit reads a file of systemd's: section, key, values in their order.
func unit(t *testing.T, path string) map[string]map[string][]string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	all, section := map[string]map[string][]string{}, ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			all[section] = map[string][]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			require.True(t, ok, line)
			all[section][key] = append(all[section][key], value)
		}
	}
	return all
}

// The unit is valid, and shuts out what the cache does not need.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	analyze := tool(t, "systemd-analyze")
	content, err := os.ReadFile(filepath.Join(deployDir(t), "systemd", "registry-cache.service"))
	require.NoError(t, err)
	dir := harness.TempDir(t)
	// systemd wants to see the binary.
	harness.WriteFile(t, filepath.Join(dir, "registry-cache.service"),
		strings.ReplaceAll(string(content), "/usr/local/bin/registry-cache", harness.Binary))
	require.Empty(t, runIn(t, dir, analyze, "verify", "--man=no", "./registry-cache.service"))
	if !strings.Contains(runIn(t, dir, analyze, "--help"), "--offline") {
		t.Skip("SKIPPED: this systemd-analyze can't judge a unit that is not loaded")
	}
	// In tenths, of 100.
	runIn(t, dir, analyze, "security", "--offline=true", "--threshold=20", "./registry-cache.service")
}

// What the units set is a configuration that starts.
func TestUnitsAreValidAsTheyAre(t *testing.T) {
	t.Parallel()
	for file, section := range map[string]string{
		"systemd/registry-cache.service": "Service", "quadlet/registry-cache.container": "Container",
	} {
		t.Run(file, func(t *testing.T) {
			etc := harness.TempDir(t)
			env := map[string]string{}
			for _, e := range unit(t, filepath.Join(deployDir(t), file))[section]["Environment"] {
				key, value, ok := strings.Cut(e, "=")
				require.True(t, ok, e)
				env[key] = strings.ReplaceAll(strings.ReplaceAll(value, "/etc/registry-cache", etc), "/var/lib", etc)
			}
			require.Contains(t, env, "PULLSECRETPATH")
			harness.WriteFile(t, filepath.Join(etc, "pull-secret.json"), `{"auths":{"quay.io":{}}}`)
			out, err := harness.Configure(t, harness.Options{Env: env}).Command("check", "--local").CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "quay.io")
		})
	}
}

// quadletKeys are those of [Container] that podman 4.6 knows, as far as they are
// used here (podman-systemd.unit(5)).
var quadletKeys = []string{
	"ContainerName", "DropCapability", "Environment", "Image", "NoNewPrivileges", "PodmanArgs", "PublishPort", "ReadOnly", "Volume",
}

func TestQuadletUnit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(deployDir(t), "quadlet", "registry-cache.container")
	sections := unit(t, file)
	for key := range sections["Container"] {
		require.Contains(t, quadletKeys, key)
	}
	require.Contains(t, sections["Container"]["Volume"], "registry:/var/lib/registry")
	require.NotEmpty(t, sections["Install"]["WantedBy"])
	// What [Container] becomes is for podman to say; the rest is systemd's.
	generator := tool(t, "/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet", "quadlet")
	cmd := exec.Command(generator, "-dryrun")
	cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+filepath.Dir(file))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ExecStart=")
	require.NotContains(t, string(out), "unsupported key")
}

// What kustomize makes of the base and of the overlay is what each platform wants.
func TestKustomize(t *testing.T) {
	t.Parallel()
	kubectl := tool(t, "kubectl")
	dir := filepath.Join(deployDir(t), "kustomize")
	build := func(name string) map[string]object {
		file := filepath.Join(harness.TempDir(t), name+".yaml")
		harness.WriteFile(t, file, runIn(t, dir, kubectl, "kustomize", name))
		return documents(t, file)
	}
	base, overlay := build("base"), build("openshift")
	require.Equal(t, []string{"ConfigMap", "Deployment", "PersistentVolumeClaim", "Secret", "Service"}, kinds(base))
	require.Equal(t, []string{"ConfigMap", "Deployment", "PersistentVolumeClaim", "Route", "Secret", "Service"}, kinds(overlay))

	for _, all := range []map[string]object{base, overlay} {
		require.Equal(t, "/healthz", at[string](t, podSpec(t, all), "containers", 0, "livenessProbe", "httpGet", "path"))
		require.Equal(t, "/readyz", at[string](t, podSpec(t, all), "containers", 0, "readinessProbe", "httpGet", "path"))
	}

	spec := podSpec(t, overlay)
	require.NotContains(t, at[object](t, spec, "securityContext"), "fsGroup", "the namespace has its own range")
	require.NotContains(t, at[object](t, spec, "securityContext"), "runAsUser")
	for _, port := range at[[]any](t, spec, "containers", 0, "ports") {
		require.NotContains(t, port, "hostPort", "restricted-v2 has none")
	}
	mounts := at[[]any](t, spec, "containers", 0, "volumeMounts")
	require.Len(t, mounts, len(at[[]any](t, podSpec(t, base), "containers", 0, "volumeMounts"))+1)
	require.True(t, slices.ContainsFunc(mounts, func(m any) bool { return m.(object)["mountPath"] == "/certs" }))
	for _, m := range mounts {
		require.True(t, slices.ContainsFunc(at[[]any](t, spec, "volumes"), func(v any) bool {
			return v.(object)["name"] == m.(object)["name"]
		}), m)
	}
	route := overlay["Route"]
	require.Equal(t, "passthrough", at[string](t, route, "spec", "tls", "termination"))
	require.Equal(t, at[string](t, overlay["Service"], "metadata", "name"), at[string](t, route, "spec", "to", "name"))
	require.Equal(t, at[string](t, overlay["Service"], "spec", "ports", 0, "name"), at[string](t, route, "spec", "port", "targetPort"))
}

func kinds(all map[string]object) []string {
	var names []string
	for kind := range all {
		names = append(names, kind)
	}
	slices.Sort(names)
	return names
}
