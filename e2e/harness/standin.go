package harness

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// standIn is the image that takes the place of docker.io/library/golang: what
// the Containerfile's RUN lines use, and settings that keep Go off the network.
// The toolchain itself is mounted while building.
const standIn = `FROM scratch
COPY rootfs/ /
ENV PATH=/usr/local/go/bin:/bin GOROOT=/usr/local/go GOTOOLCHAIN=local \
    GOMODCACHE=/go/pkg/mod GOCACHE=/go/cache GOPROXY=off GOFLAGS=-modcacherw
`

// standInPrograms are what the RUN lines of the Containerfile call, besides go.
var standInPrograms = []string{"sh", "mkdir", "cp", "chmod"}

const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// BuildImage builds the project's Containerfile, as it is, from the local Go
// toolchain and module cache, and returns the image's name.
func (c *Client) BuildImage() string {
	c.t.Helper()
	c.t.Cleanup(func() { // a test that failed may have left some running
		c.Must("pod", "rm", "--force", "--all")
		c.Must("rm", "--force", "--all", "--volumes")
	})
	const builder, image = "localhost/go-stand-in:latest", "localhost/registry-cache:e2e"
	context := TempDir(c.t)
	require.NoError(c.t, os.WriteFile(filepath.Join(context, "Containerfile"), []byte(standIn), 0o600))
	fillRoot(c.t, filepath.Join(context, "rootfs"))
	c.Must("build", "--quiet", "--tag", builder, context)

	root, err := ModuleRoot()
	require.NoError(c.t, err)
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	require.NoError(c.t, err)
	dirs := strings.Fields(string(out))
	c.Must("build", "--format", "docker", "--network", "host", "--pull=never",
		"--build-arg", "BUILDER="+builder, "--build-arg", "VERSION=1.2.3-e2e",
		"--volume", dirs[0]+":/usr/local/go:ro", "--volume", dirs[1]+":/go/pkg/mod", "--volume", dirs[2]+":/go/cache",
		"--tag", image, root)
	return image
}

var library = regexp.MustCompile(`/\S+`)

// fillRoot copies the programs with the libraries they need, and the CA
// certificates.
func fillRoot(t testing.TB, root string) {
	t.Helper()
	for _, program := range standInPrograms {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		copyFile(t, path, filepath.Join(root, "bin", program))
		// A static program has no libraries, and ldd says so with an error.
		linked, _ := exec.Command("ldd", path).Output()
		for _, lib := range library.FindAllString(string(linked), -1) {
			copyFile(t, lib, filepath.Join(root, lib))
		}
	}
	if _, err := os.Stat(caBundle); err != nil {
		t.Skipf("SKIPPED: %v (package ca-certificates)", err)
	}
	copyFile(t, caBundle, filepath.Join(root, caBundle))
	require.NoError(t, os.Mkdir(filepath.Join(root, "tmp"), 0o777))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	require.NoError(t, err)
	defer func() { _ = source.Close() }()
	info, err := source.Stat()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode())
	require.NoError(t, err)
	_, err = io.Copy(target, source)
	require.NoError(t, err)
	require.NoError(t, target.Close())
}
