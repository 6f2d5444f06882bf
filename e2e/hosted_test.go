package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
	"registrycache/status"
)

const hostedWorker = "registry-cache hosted"

// hostedConfig is CONFIG_FILE with the upstream, and pushes as said.
func hostedConfig(t *testing.T, u *harness.Upstream, hosted string) string {
	t.Helper()
	return harness.ConfigFile(t, map[string]harness.Settings{"quay.io": u.Settings()}) + hosted + "\n"
}

// startHosted starts a cache that images are pushed to.
func startHosted(t *testing.T, u *harness.Upstream, hosted string, prepare func(dir string), env map[string]string) *harness.Appliance {
	t.Helper()
	a := harness.Configure(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()}, Env: env,
	})
	harness.WriteFile(t, a.ConfigFile(), hostedConfig(t, u, hosted))
	if prepare != nil {
		prepare(a.Dir)
	}
	a.Start()
	return a
}

func reference(t *testing.T, a *harness.Appliance, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(a.Addr+"/"+image, name.Insecure)
	require.NoError(t, err)
	return ref
}

func push(t *testing.T, a *harness.Appliance, image string, img v1.Image) {
	t.Helper()
	require.NoError(t, remote.Write(reference(t, a, image), img))
}

// pullWhole pulls an image with all it has, and checks every digest.
func pullWhole(t *testing.T, a *harness.Appliance, image string, want v1.Image) {
	t.Helper()
	got, err := remote.Image(reference(t, a, image))
	require.NoError(t, err)
	require.NoError(t, validate.Image(got))
	require.Equal(t, harness.Digest(t, want), harness.Digest(t, got))
}

// upload pushes a blob by plain HTTP in chunks of so many bytes.
func upload(t *testing.T, c *harness.Caller, repo string, content []byte, chunk int) string {
	t.Helper()
	at := c.Must(http.MethodPost, "/v2/"+repo+"/blobs/uploads/")
	require.Equal(t, http.StatusAccepted, at.Status, "%s", at.Body)
	for from := 0; from < len(content); from += chunk {
		to := min(from+chunk, len(content))
		var err error
		at, err = c.With("Content-Range", fmt.Sprintf("%d-%d", from, to-1)).With("Content-Type", "application/octet-stream").
			Send(http.MethodPatch, at.Header.Get("Location"), strings.NewReader(string(content[from:to])))
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, at.Status, "%s", at.Body)
		require.Equal(t, fmt.Sprintf("0-%d", to-1), at.Header.Get("Range"))
	}
	d := digest.FromBytes(content).String()
	at = c.Must(http.MethodPut, at.Header.Get("Location")+"&digest="+d)
	require.Equal(t, http.StatusCreated, at.Status, "%s", at.Body)
	return d
}

// putManifest pushes a manifest by plain HTTP.
func putManifest(t *testing.T, c *harness.Caller, path string, manifest any) harness.Answer {
	t.Helper()
	payload, err := json.Marshal(manifest)
	require.NoError(t, err)
	answer, err := c.With("Content-Type", "application/vnd.oci.image.manifest.v1+json").Send(http.MethodPut, path, strings.NewReader(string(payload)))
	require.NoError(t, err)
	return answer
}

func TestPushWithRealClients(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 300_000, 20_000)
	u.Push(t, "podman/hello:latest", img)
	u.Push(t, "podman/multi:1", harness.Index(t, 4000))
	a := startHosted(t, u, "hosted: {prefix: local}", nil, nil)
	a.Child(t, hostedWorker)
	a.WaitLog("everyone who reaches this cache may push to local/")

	podman, local := harness.Podman(t), a.Addr+"/local/team/app:1"
	podman.Pull(a.Addr + "/quay.io/podman/hello:latest")
	podman.Must("tag", a.Addr+"/quay.io/podman/hello:latest", local)
	podman.Must("push", "--tls-verify=false", local)
	podman.Must("push", "--tls-verify=false", local) // all is here already
	podman.Pull(local)
	fresh := harness.Podman(t)
	fresh.Pull(local)

	skopeo := harness.Skopeo(t)
	copied := a.Addr + "/local/copies/multi:1"
	skopeo.Must("copy", "--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
		"docker://"+a.Addr+"/quay.io/podman/multi:1", "docker://"+copied)
	skopeo.Copy(copied, "--src-tls-verify=false", "--all")

	buildah := harness.Buildah(t)
	file := filepath.Join(buildah.Dir, "file")
	harness.WriteFile(t, file, "content")
	buildah.Must("from", "--name", "work", "scratch")
	buildah.Must("copy", "work", file, "/file")
	buildah.Must("commit", "--quiet", "work", "built")
	buildah.Must("push", "--tls-verify=false", "built", a.Addr+"/local/built:1")
	fresh.Pull(a.Addr + "/local/built:1")

	var catalog struct{ Repositories []string }
	require.NoError(t, json.Unmarshal(a.HTTP(t).Get("/v2/_catalog").Body, &catalog))
	require.Equal(t, []string{"local/built", "local/copies/multi", "local/team/app", "quay.io/podman/hello", "quay.io/podman/multi"}, catalog.Repositories)

	// They are there after a restart, and gone when they are deleted.
	a.Restart()
	fresh.Pull(local)
	skopeo.Must("delete", "--tls-verify=false", "docker://"+local)
	_, err := fresh.Do("pull", "--quiet", "--tls-verify=false", local)
	require.Error(t, err)
	a.HTTP(t).Fails(http.MethodGet, "/v2/local/team/app/manifests/1", http.StatusNotFound, "MANIFEST_UNKNOWN")
	fresh.Pull(a.Addr + "/local/built:1")

	// What is cached can't be pushed to.
	podman.Must("tag", a.Addr+"/quay.io/podman/hello:latest", a.Addr+"/quay.io/podman/mine:1")
	out, err := podman.Do("push", "--tls-verify=false", a.Addr+"/quay.io/podman/mine:1")
	require.Error(t, err)
	require.Contains(t, out, "push to the upstream registry itself, or to names below local/ here")
	require.Zero(t, u.Count("mine", ""))
}

func TestPushWithDocker(t *testing.T) {
	t.Parallel()
	needsDaemons(t, "containerd", "dockerd", "runc")
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", nil, nil)
	img := harness.Image(t, 3000, 400_000)
	push(t, a, "local/from:1", img)
	call := dockerd(t, "{}")
	query := url.Values{"fromImage": {a.Addr + "/local/from"}, "tag": {"1"}}
	require.NotContains(t, call(http.MethodPost, "/images/create?"+query.Encode()), `"error"`)
	for _, repo := range []string{"/local/to/app", "/local/again"} { // the second mounts from the first
		query = url.Values{"repo": {a.Addr + repo}, "tag": {"2"}}
		call(http.MethodPost, "/images/"+a.Addr+"/local/from:1/tag?"+query.Encode())
		progress := call(http.MethodPost, "/images/"+a.Addr+repo+"/push?tag=2")
		require.NotContains(t, progress, `"error"`)
		pulled, err := remote.Image(reference(t, a, strings.TrimPrefix(repo, "/")+":2"))
		require.NoError(t, err)
		require.NoError(t, validate.Image(pulled))
	}
}

func TestPushWithContainerd(t *testing.T) {
	t.Parallel()
	needsDaemons(t, "containerd", "ctr")
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", nil, nil)
	img := harness.OCIImage(t, 3000, 400_000)
	push(t, a, "local/from:1", img)
	socket := containerd(t, harness.TempDir(t))
	ctr := func(args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address", socket, "images"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	ctr("pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/amd64", a.Addr+"/local/from:1")
	ctr("push", "--plain-http", a.Addr+"/local/to/app:2", a.Addr+"/local/from:1")
	pullWhole(t, a, "local/to/app:2", img)
}

func TestPushByPlainHTTP(t *testing.T) {
	t.Parallel()
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", nil, nil)
	c := a.HTTP(t)
	layer := make([]byte, 250_000)
	_, _ = rand.Read(layer)
	d := upload(t, c, "local/app", layer, 100_000)
	require.Equal(t, layer, c.Get("/v2/local/app/blobs/"+d).Body)
	part := c.With("Range", "bytes=10-19").Must(http.MethodGet, "/v2/local/app/blobs/"+d)
	require.Equal(t, http.StatusPartialContent, part.Status)
	require.Equal(t, layer[10:20], part.Body)

	mounted := c.Must(http.MethodPost, "/v2/local/other/blobs/uploads/?mount="+d+"&from=local/app")
	require.Equal(t, http.StatusCreated, mounted.Status, "%s", mounted.Body)
	require.Equal(t, layer, c.Get("/v2/local/other/blobs/"+d).Body)
	c.Fails(http.MethodGet, "/v2/local/third/blobs/"+d, http.StatusNotFound, "BLOB_UNKNOWN")

	config := upload(t, c, "local/app", []byte("{}"), 10)
	manifest := object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": object{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
		"layers": []object{{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": d, "size": len(layer)}},
	}
	put := putManifest(t, c, "/v2/local/app/manifests/1", manifest)
	require.Equal(t, http.StatusCreated, put.Status, "%s", put.Body)
	subject := put.Header.Get("Docker-Content-Digest")

	// What refers to it.
	manifest["artifactType"], manifest["subject"] = "application/example.sbom", object{
		"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 100,
	}
	put = putManifest(t, c, "/v2/local/app/manifests/sbom", manifest)
	require.Equal(t, http.StatusCreated, put.Status, "%s", put.Body)
	require.Equal(t, subject, put.Header.Get("OCI-Subject"))
	var index v1.IndexManifest
	require.NoError(t, json.Unmarshal(c.Get("/v2/local/app/referrers/"+subject).Body, &index))
	require.Len(t, index.Manifests, 1)
	require.Equal(t, put.Header.Get("Docker-Content-Digest"), index.Manifests[0].Digest.String())
	require.Equal(t, "application/example.sbom", index.Manifests[0].ArtifactType)
	filtered := c.Get("/v2/local/app/referrers/" + subject + "?artifactType=other")
	require.Equal(t, "artifactType", filtered.Header.Get("OCI-Filters-Applied"))
	require.Contains(t, string(filtered.Body), `"manifests":[]`)

	// A tag is what it was last pushed as, at once.
	delete(manifest, "subject")
	for i := range 5 {
		manifest["annotations"] = object{"n": fmt.Sprint(i)}
		put = putManifest(t, c, "/v2/local/app/manifests/moving", manifest)
		require.Equal(t, put.Header.Get("Docker-Content-Digest"), c.Get("/v2/local/app/manifests/moving").Header.Get("Docker-Content-Digest"))
	}
	require.Equal(t, http.StatusAccepted, c.Must(http.MethodDelete, "/v2/local/app/manifests/moving").Status)
	c.Fails(http.MethodGet, "/v2/local/app/manifests/moving", http.StatusNotFound, "MANIFEST_UNKNOWN")

	c.Fails(http.MethodPost, "/v2/quay.io/org/app/blobs/uploads/", http.StatusMethodNotAllowed, "UNSUPPORTED")
	c.Fails(http.MethodPost, "/v2/local/app/blobs/uploads/?ns=quay.io", http.StatusMethodNotAllowed, "UNSUPPORTED")
}

func TestWhoMayPush(t *testing.T) {
	t.Parallel()
	pair := harness.NewPair(t, "cache.local")
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local, push: [builder]}", func(dir string) {
		certFiles(t, filepath.Join(dir, "certs"), "tls.crt", pair)
		harness.WriteFile(t, filepath.Join(dir, "htpasswd"),
			htpasswd(t, bcrypt.MinCost, "builder", "b")+htpasswd(t, bcrypt.MinCost, "reader", "r"))
	}, map[string]string{"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH": "{dir}/htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "cache"})
	skopeo := harness.Skopeo(t)
	trust, dir := t.TempDir(), filepath.Join(skopeo.Dir, "image")
	harness.WriteFile(t, filepath.Join(trust, "ca.crt"), string(pair.Cert))
	writeImage(t, skopeo, harness.Image(t, 3000, 6_000_000), dir)
	push := func(creds ...string) (string, error) {
		args := append([]string{"copy", "--quiet", "--dest-cert-dir", trust}, creds...)
		return skopeo.Do(append(args, "oci:"+dir, "docker://"+a.Addr+"/local/app:1")...)
	}
	out, err := push("--dest-no-creds")
	require.Error(t, err)
	require.Contains(t, out, "authentication required")
	out, err = push("--dest-creds=reader:r")
	require.Error(t, err)
	require.Contains(t, out, "may pull from local/ but not push to it: hosted.push in the cache's CONFIG_FILE lists who may")
	out, err = push("--dest-creds=builder:b")
	require.NoError(t, err, out)
	skopeo.Copy(a.Addr+"/local/app:1", "--src-cert-dir", trust, "--src-creds=reader:r")
	a.WaitLog(`"image":"local/app:1"`, `"user":"builder"`, `"message":"pushed"`)

	nobody := a.HTTPS(t, pair.Client())
	reader := nobody.As("reader", "r")
	reader.Fails(http.MethodDelete, "/v2/local/app/manifests/1", http.StatusForbidden, "DENIED")
	nobody.Fails(http.MethodDelete, "/v2/local/app/manifests/1", http.StatusUnauthorized, "UNAUTHORIZED")
	require.NotContains(t, a.Output(), "everyone who reaches")
}

// writeImage puts an image into an OCI layout that skopeo reads.
func writeImage(t *testing.T, skopeo *harness.Client, img v1.Image, dir string) {
	t.Helper()
	u := harness.NewUpstream(t)
	u.Push(t, "x/y:1", img)
	a := harness.Cache(t, u)
	skopeo.Must("copy", "--quiet", "--src-tls-verify=false", "docker://"+a.Addr+"/quay.io/x/y:1", "oci:"+dir)
}

func TestHostedComesAndGoesWithTheConfiguration(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	a := harness.Cache(t, u)
	img := harness.Image(t, 3000)
	before := a.Children()
	require.Error(t, remote.Write(reference(t, a, "local/app:1"), img))

	harness.WriteFile(t, a.ConfigFile(), hostedConfig(t, u, "hosted: {prefix: local}"))
	pid := a.Child(t, hostedWorker)
	harness.Eventually(t, func() bool {
		return remote.Write(reference(t, a, "local/app:1"), img) == nil
	}, "pushes are taken")
	pullWhole(t, a, "local/app:1", img)

	// Another prefix is another worker, on the same store.
	harness.WriteFile(t, a.ConfigFile(), hostedConfig(t, u, "hosted: {prefix: depot}"))
	harness.Eventually(t, func() bool {
		return remote.Write(reference(t, a, "depot/app:1"), img) == nil && !harness.Alive(pid)
	}, "pushes are taken under the other prefix")
	_, err := remote.Image(reference(t, a, "local/app:1"))
	require.Error(t, err)

	harness.WriteFile(t, a.ConfigFile(), hostedConfig(t, u, ""))
	harness.Eventually(t, func() bool { return a.Children()[hostedWorker] == 0 }, "the worker ends")
	require.Equal(t, before, a.Children(), "the others went on")
	a.HTTP(t).Fails(http.MethodPost, "/v2/depot/app/blobs/uploads/", http.StatusMethodNotAllowed, "UNSUPPORTED")
}

// hostedBlobs are the blobs that were pushed.
func hostedBlobs(t *testing.T, a *harness.Appliance) []string {
	t.Helper()
	return allBlobs(t, filepath.Join(a.Store(), "hosted"))
}

func TestRemovedPushesFreeTheDisk(t *testing.T) {
	t.Parallel()
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", nil, nil)
	base, large := harness.Image(t, 10_000), harness.Image(t, 10_000, 900_000)
	push(t, a, "local/base:1", base)
	push(t, a, "local/team/app:1", large)
	require.Len(t, hostedBlobs(t, a), 3+4)
	found := images(t, a, "local/team/app")
	require.True(t, found["local/team/app:1"].Complete)
	var state status.Document
	harness.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal(a.HTTP(t).Get("/status.json").Body, &state))
		return state.Hosted != nil
	}, "it is measured")
	require.Equal(t, "local", state.Hosted.Prefix)
	require.Equal(t, 2, state.Hosted.Repositories)
	require.Equal(t, 2, state.Hosted.Tags)
	require.Greater(t, state.Hosted.Used, int64(900_000))

	require.Contains(t, command(t, a, "images", "rm", "--dry-run", "local/team/app:1"), "would remove local/team/app:1\n")
	require.Len(t, hostedBlobs(t, a), 3+4)
	require.Contains(t, command(t, a, "images", "rm", "local/team/app:1"), "in 4 blobs\n")
	require.Len(t, hostedBlobs(t, a), 3)
	a.HTTP(t).Fails(http.MethodGet, "/v2/local/team/app/manifests/1", http.StatusNotFound, "MANIFEST_UNKNOWN")
	pullWhole(t, a, "local/base:1", base)

	// Layers that another image shares stay, and pushing again works.
	push(t, a, "local/team/app:1", large)
	push(t, a, "local/copy:1", large)
	require.Contains(t, command(t, a, "images", "rm", "local/team/app:1"), "freed 0 B in 0 blobs\n")
	pullWhole(t, a, "local/copy:1", large)
	push(t, a, "local/team/app:1", large)
	pullWhole(t, a, "local/team/app:1", large)

	// A clean of the cache, however hard, takes none of it.
	command(t, a, "clean", "--to", "0")
	pullWhole(t, a, "local/team/app:1", large)
}

func TestAPushSurvivesItsWorker(t *testing.T) {
	t.Parallel()
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", nil, nil)
	img := harness.Image(t, 300_000)
	_, content := harness.Layer(t, img, 0)
	c := a.HTTP(t)
	begun := c.Must(http.MethodPost, "/v2/local/app/blobs/uploads/")
	require.Equal(t, http.StatusAccepted, begun.Status)
	body, write := io.Pipe()
	failure := make(chan error, 1)
	go func() {
		answer, err := c.Send(http.MethodPatch, begun.Header.Get("Location"), body)
		if err == nil && answer.Status < 500 {
			err = fmt.Errorf("answered %d", answer.Status)
			failure <- err
			return
		}
		failure <- nil
	}()
	_, err := write.Write(content[:200_000])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(a.Child(t, hostedWorker), syscall.SIGKILL))
	_ = write.CloseWithError(io.ErrUnexpectedEOF)
	require.NoError(t, <-failure, "half a layer is not taken")
	require.Empty(t, hostedBlobs(t, a))

	harness.Eventually(t, func() bool {
		return remote.Write(reference(t, a, "local/app:1"), img) == nil
	}, "the push works the second time")
	pullWhole(t, a, "local/app:1", img)
}

func TestPushToAFullDisk(t *testing.T) {
	t.Parallel()
	store := ""
	a := startHosted(t, harness.NewUpstream(t), "hosted: {prefix: local}", func(dir string) {
		store = filepath.Join(dir, "store")
		harness.Tmpfs(t, store, "4m")
	}, nil)
	small, large := harness.Image(t, 100_000), harness.Image(t, 9_000_000)
	push(t, a, "local/small:1", small)
	before := hostedBlobs(t, a)

	_, content := harness.Layer(t, large, 0)
	c := a.HTTP(t)
	begun := c.Must(http.MethodPost, "/v2/local/app/blobs/uploads/")
	path := begun.Header.Get("Location") + "&digest=" + digest.FromBytes(content).String()
	answer, err := c.Send(http.MethodPut, path, strings.NewReader(string(content)))
	if err == nil { // else the connection was closed on what is too much
		require.Equal(t, http.StatusInternalServerError, answer.Status, "%s", answer.Body)
		require.Equal(t, "no space left on the disk for pushed images", answer.Error(t, "UNKNOWN"))
		require.NotContains(t, string(answer.Body), store)
	}
	require.Equal(t, before, hostedBlobs(t, a), "no part of a blob")
	pullWhole(t, a, "local/small:1", small)

	harness.Remount(t, store, 0, "size=64m")
	push(t, a, "local/large:1", large)
	pullWhole(t, a, "local/large:1", large)
}
