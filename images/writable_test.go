package images_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/images"
)

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	s, err := images.OpenExisting(dir)
	require.NoError(t, err)
	require.ErrorIs(t, s.Writable(), images.ErrNoStore)
	require.ErrorContains(t, s.Writable(), dir)

	s, _ = open(t)
	require.NoError(t, s.Writable())
}

// another is an id that no user of the store has.
const another = 54321

func TestWritableSaysWhoseTheStoreIs(t *testing.T) {
	if dir := os.Getenv("IMAGES_TEST_WRITABLE"); dir != "" {
		s, err := images.OpenExisting(dir)
		require.NoError(t, err)
		require.ErrorContains(t, s.Writable(), "and this is uid 54321; run it as")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can become another user; run as root to have this tested")
	}
	dir, err := os.MkdirTemp("", "store") // t.TempDir is root's alone
	require.NoError(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	_, err = images.Open(dir)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	binary := filepath.Join(dir, "test")
	content, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, content, 0o755))
	cmd := exec.Command(binary, "-test.run", t.Name())
	cmd.Env = []string{"IMAGES_TEST_WRITABLE=" + dir}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: another, Gid: another}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
