package registrycache_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// roles are the packages that each become a process; shared is all that they
// may know of the rest of the project.
var (
	roles  = []string{"supervisor", "router", "registryworker", "logger", "cleaner"}
	shared = []string{"config", "images", "logger/accesslog", "status"}
	// testStores, testLog and testWorker are for tests alone.
	testStores = "images/imagestest"
	testLog    = "logger/logtest"
	testWorker = "registryworker/workertest"
)

// TestImportDirection holds the rule that processes meet through sockets,
// files and settings, never through each other's code.
func TestImportDirection(t *testing.T) {
	for pkg, imports := range packages(t) {
		for _, imp := range imports {
			require.True(t, allowed(pkg, imp), "%s must not import %s", pkg, imp)
		}
	}
}

// TestTestCodeIsForTests holds the rule that no binary has in it what is for
// tests.
func TestTestCodeIsForTests(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/registry-cache").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "registrycache/images\n")
	for _, pkg := range []string{testStores, testLog, testWorker} {
		require.NotContains(t, string(out), pkg)
	}
}

func TestImportDirectionIsChecked(t *testing.T) {
	for _, bad := range [][2]string{
		{"router", "registryworker/upstream"},
		{"config", "images"},
		{"images", "config"},
		{"logger", "cleaner"},
		{"supervisor", "cmd/registry-cache"},
		{"router", "images/imagestest"},
		{"images/imagestest", "config"},
		{"images", "logger/logtest"},
		{"status", "config"},
		{"warm", "images"},
	} {
		require.False(t, allowed(bad[0], bad[1]), "%s -> %s", bad[0], bad[1])
	}
}

func allowed(pkg, imp string) bool {
	top, impTop := first(pkg), first(imp)
	switch {
	case top == "cmd", top == "e2e", top == "bench", pkg == ".":
		return impTop != "cmd"
	case imp == testStores, pkg == testStores:
		return pkg == "cleaner" || top == "images" && impTop == "images"
	case imp == testLog:
		return slices.Contains(roles, top)
	case slices.Contains(shared, pkg):
		return pkg == imp || strings.HasPrefix(imp, pkg+"/")
	case slices.Contains(roles, top):
		return impTop == top || slices.Contains(shared, imp)
	case top == "warm": // a client; the answers it gets are in the access log's terms
		return impTop == top || imp == "logger/accesslog"
	}
	return top == impTop
}

func first(pkg string) string {
	top, _, _ := strings.Cut(pkg, "/")
	return top
}

// packages maps each package of this module to those of this module that it
// imports, tests included, without the module's name.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	const module = "registrycache"
	out, err := exec.Command("go", "list", "-f",
		`{{.ImportPath}} {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./...").Output()
	require.NoError(t, err)
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := path.Clean(strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/"))
		found[pkg] = nil
		for _, imp := range fields[1:] {
			if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
				found[pkg] = append(found[pkg], rest)
			}
		}
	}
	require.Contains(t, found, "router")
	return found
}

// TestOnlyConfigReadsTheEnvironment holds the rule that a setting has one door.
// The command passes os.Environ to it; children inherit next to nothing.
func TestOnlyConfigReadsTheEnvironment(t *testing.T) {
	reads := regexp.MustCompile(`os\.(Getenv|LookupEnv|ExpandEnv)\(`)
	files := 0
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		if slices.Contains([]string{"config", "e2e", "bench"}, first(filepath.ToSlash(name))) {
			return nil
		}
		files++
		source, err := os.ReadFile(name)
		if found := reads.Find(source); found != nil {
			t.Errorf("%s calls %s…): settings are read by the config package alone", name, found)
		}
		return err
	})
	require.NoError(t, err)
	require.NotZero(t, files)
}
