package e2e

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"registrycache/e2e/harness"
)

type object = map[string]any

// manifests reads the documents of a file in deploy/, by kind.
func manifests(t *testing.T, file string) map[string]object {
	t.Helper()
	return documents(t, filepath.Join(deployDir(t), file))
}

// documents reads the documents of a file, by kind.
func documents(t *testing.T, path string) map[string]object {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	all := map[string]object{}
	for dec := yaml.NewDecoder(f); ; {
		var doc object
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[doc["kind"].(string)] = doc
	}
}

// at follows keys and indexes through a document.
func at[T any](t *testing.T, from any, keys ...any) T {
	t.Helper()
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			require.Contains(t, from, key)
			from = from.(object)[key]
		case int:
			from = from.([]any)[key]
		}
	}
	return from.(T)
}

func podSpec(t *testing.T, all map[string]object) object {
	return at[object](t, all["Deployment"], "spec", "template", "spec")
}

// Names in one document that refer to another must meet.
func TestManifestsFitTogether(t *testing.T) {
	t.Parallel()
	all := manifests(t, "deployment.yaml")
	claim := manifests(t, "kustomize/base/storage.yaml")["PersistentVolumeClaim"]
	spec := podSpec(t, all)
	name := func(o object) string { return at[string](t, o, "metadata", "name") }
	volumes := map[string]object{}
	for _, v := range at[[]any](t, spec, "volumes") {
		volumes[v.(object)["name"].(string)] = v.(object)
	}
	require.Equal(t, name(claim), at[string](t, volumes["store"], "persistentVolumeClaim", "claimName"))
	require.Equal(t, name(all["Secret"]), at[string](t, volumes["pull-secret"], "secret", "secretName"))
	require.Equal(t, name(all["ConfigMap"]), at[string](t, volumes["config"], "configMap", "name"))
	container := at[object](t, spec, "containers", 0)
	for _, m := range at[[]any](t, container, "volumeMounts") {
		require.Contains(t, volumes, m.(object)["name"])
	}
	require.Equal(t, at[object](t, all["Deployment"], "spec", "template", "metadata", "labels"),
		at[object](t, all["Service"], "spec", "selector"))

	// What the restricted profile of Kubernetes wants (Pod Security Standards).
	require.Equal(t, true, at[bool](t, spec, "securityContext", "runAsNonRoot"))
	require.Equal(t, "RuntimeDefault", at[string](t, spec, "securityContext", "seccompProfile", "type"))
	require.Equal(t, false, at[bool](t, container, "securityContext", "allowPrivilegeEscalation"))
	require.Equal(t, []any{"ALL"}, at[[]any](t, container, "securityContext", "capabilities", "drop"))
}

// What the file says before anybody has edited it is a valid configuration.
func TestManifestsAreValidAsTheyAre(t *testing.T) {
	t.Parallel()
	all := manifests(t, "deployment.yaml")
	env := map[string]string{}
	for _, e := range at[[]any](t, podSpec(t, all), "containers", 0, "env") {
		env[at[string](t, e, "name")] = at[string](t, e, "value")
	}
	require.Equal(t, "/pull-secret/.dockerconfigjson", env["PULLSECRETPATH"])
	delete(env, "PULLSECRETPATH")
	a := harness.Configure(t, harness.Options{Env: env})
	secret, err := base64.StdEncoding.DecodeString(at[string](t, all["Secret"], "data", ".dockerconfigjson"))
	require.NoError(t, err)
	harness.WriteFile(t, a.PullSecret(), string(secret))
	harness.WriteFile(t, a.ConfigFile(), at[string](t, all["ConfigMap"], "data", "config.yaml"))
	out, err := a.Command("check", "--local").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "docker.io")
}

// testPlayKube brings deploy/deployment.yaml up and down with podman; only the
// image's name, the credentials and the port on the host differ.
func (s *containerSite) testPlayKube(t *testing.T) {
	all := manifests(t, "deployment.yaml")
	secret := harness.PullSecret(t, map[string]string{"quay.io": harness.Login})
	all["Secret"]["data"] = object{".dockerconfigjson": base64.StdEncoding.EncodeToString([]byte(secret))}
	all["ConfigMap"]["data"] = object{
		"config.yaml": harness.ConfigFile(t, map[string]harness.Settings{"quay.io": s.upstream.Settings()}),
	}
	container := at[object](t, podSpec(t, all), "containers", 0)
	container["image"] = s.image
	podman := s.podman.For(t)
	port := harness.FreePort(t)
	addr := "127.0.0.1:" + port
	play := []string{"play", "kube"}
	if s.network.Bridge {
		// podman 4.3 publishes the ports without hostPort too.
		for i, port := range []string{port, harness.FreePort(t)} {
			number, err := strconv.Atoi(port)
			require.NoError(t, err)
			at[object](t, container, "ports", i)["hostPort"] = number
		}
	} else {
		play = append(play, "--network=host")
		container["env"] = append(container["env"].([]any),
			object{"name": "LISTEN_ADDR", "value": addr}, object{"name": "METRICS_ADDR", "value": "127.0.0.1:0"})
	}
	file := filepath.Join(podman.Dir, "deployment.yaml")
	f, err := os.Create(file)
	require.NoError(t, err)
	enc := yaml.NewEncoder(f)
	for _, kind := range []string{"Secret", "ConfigMap", "Deployment", "Service"} {
		require.NoError(t, enc.Encode(all[kind]))
	}
	require.NoError(t, enc.Close())
	require.NoError(t, f.Close())

	up := func() {
		podman.Must(append(play, file)...)
		harness.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr + "/v2/")
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}, "the pod answers; %s", s.logs())
		// A new podman each time: one that has the layers would not ask for them.
		harness.Podman(t).Pull(addr + "/quay.io/podman/hello:latest")
	}
	down := func() {
		podman.Must("play", "kube", "--down", file)
		require.Empty(t, strings.TrimSpace(podman.Must("pod", "ps", "--quiet")))
	}
	up()
	down()
	// The volume outlives the pod.
	s.upstream.Stop()
	defer s.upstream.Start()
	up()
	down()
}

type logsOf struct{ *containerSite }

// logs prints the end of the logs of all containers, when it is printed.
func (s *containerSite) logs() logsOf { return logsOf{s} }

func (l logsOf) String() string {
	ids, _ := l.podman.Do("ps", "--all", "--quiet")
	var all strings.Builder
	for _, id := range strings.Fields(ids) {
		out, _ := l.podman.Do("logs", "--tail=20", id)
		all.WriteString(out)
	}
	return all.String()
}
