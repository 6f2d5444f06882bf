package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binary is the path of the built registry-cache; Build sets it.
var Binary string

// ModuleRoot is the directory that holds go.mod.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(string(out[:len(out)-1])), nil
}

// Build builds the binary into dir, with the flags of a release.
func Build(dir string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "registry-cache")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/registry-cache")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	Binary = path
	return nil
}
