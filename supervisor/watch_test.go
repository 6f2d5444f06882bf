package supervisor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func startWatch(t *testing.T, files ...string) *watcher {
	w := watchFiles(files, zerolog.Nop())
	require.NotNil(t, w.changed)
	t.Cleanup(w.close)
	return w
}

func (w *watcher) expect(t *testing.T, why string) {
	t.Helper()
	select {
	case <-w.changed:
	case <-time.After(patience):
		t.Fatal("not seen: ", why)
	}
}

// expectNothing looks for longer than the watcher waits for further events,
// and after a change that it does see, so that whatever it would have said of
// what went before is out.
func (w *watcher) expectNothing(t *testing.T, file string) {
	t.Helper()
	write(t, file, "a change that counts "+time.Now().String())
	w.expect(t, "the change after")
	select {
	case <-w.changed:
		t.Fatal("a change of nothing was reported")
	case <-time.After(2 * debounce):
	}
}

func TestWatchSeesEveryKindOfChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pull-secret.json")
	w := startWatch(t, file)
	write(t, file, "1")
	w.expect(t, "created")
	write(t, file, "2")
	w.expect(t, "written in place")
	write(t, filepath.Join(dir, "new"), "3")
	require.NoError(t, os.Rename(filepath.Join(dir, "new"), file))
	w.expect(t, "replaced")
	write(t, file, "4")
	w.expect(t, "the new file written in place")
	require.NoError(t, os.Remove(file))
	w.expect(t, "removed")
	write(t, file, "5")
	w.expect(t, "created again")
}

func TestWatchIgnoresWhatIsNotContent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	write(t, file, "same")
	w := startWatch(t, file)
	write(t, filepath.Join(dir, "other"), "x")
	write(t, file, "same")
	require.NoError(t, os.Chmod(file, 0o644))
	w.expectNothing(t, file)
}

// Kubernetes puts the files of a secret into a directory of its own, and turns
// a symlink to the next one: no event ever names the file itself.
func TestWatchSeesKubernetesSwap(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, content string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "tls.crt"), content)
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..2026_01", "first")
	require.NoError(t, os.Symlink("..data/tls.crt", filepath.Join(dir, "tls.crt")))
	w := startWatch(t, filepath.Join(dir, "tls.crt"))
	for _, version := range []string{"..2026_02", "..2026_03"} {
		publish(version, "content of "+version)
		w.expect(t, version)
	}
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..2026_01")))
	publish("..2026_04", "content of ..2026_03") // another key of the secret changed
	publish("..2026_05", "news")
	w.expect(t, "..2026_05")
}

func TestWatchFollowsDirectoriesIntoBeing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a", "b", "config.yaml")
	w := startWatch(t, file)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	write(t, file, "1")
	w.expect(t, "created with its directories")
	write(t, file, "2")
	w.expect(t, "changed there")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "a")))
	w.expect(t, "removed with its directories")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	write(t, file, "3")
	w.expect(t, "back again")
}

// A single file mounted into a container shows its changes to those who watch
// the file, and to nobody who watches the directory it is mounted in. A second
// hard link is the same.
func TestWatchSeesChangesThroughAnotherDirectory(t *testing.T) {
	host, container := t.TempDir(), t.TempDir()
	write(t, filepath.Join(host, "secret"), "1")
	require.NoError(t, os.Link(filepath.Join(host, "secret"), filepath.Join(container, "secret")))
	w := startWatch(t, filepath.Join(container, "secret"))
	write(t, filepath.Join(host, "secret"), "2")
	w.expect(t, "changed on the host")
}

func TestWatchSeesChangesBehindASymlink(t *testing.T) {
	live, archive := t.TempDir(), t.TempDir()
	write(t, filepath.Join(archive, "cert"), "1")
	require.NoError(t, os.Symlink(filepath.Join(archive, "cert"), filepath.Join(live, "cert")))
	w := startWatch(t, filepath.Join(live, "cert"))
	write(t, filepath.Join(archive, "new"), "2")
	require.NoError(t, os.Rename(filepath.Join(archive, "new"), filepath.Join(archive, "cert")))
	w.expect(t, "replaced where the link leads")
}

func TestWatchOtherFiles(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	w := startWatch(t, first)
	w.follow([]string{first, second})
	w.expect(t, "what happened before the new one was watched")
	w.follow([]string{second})
	write(t, second, "x")
	w.expect(t, "the new one")
	write(t, first, "x")
	w.expectNothing(t, second)
}

func TestContentOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	assert.Equal(t, digest{}, content(dir))
	assert.Equal(t, digest{}, content(filepath.Join(dir, "absent")))
	assert.Equal(t, digest{}, content("/dev/zero"), "endless")
	write(t, filepath.Join(dir, "empty"), "")
	assert.NotEqual(t, digest{}, content(filepath.Join(dir, "empty")))
}
