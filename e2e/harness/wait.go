package harness

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long anything that must happen may take before a test gives
// up. It is long because the machine may be busy; nothing waits for it when
// all is well.
const Patience = 30 * time.Second

const pollEvery = 5 * time.Millisecond

// Eventually polls until cond holds, and fails the test with what was waited
// for otherwise.
func Eventually(t testing.TB, cond func() bool, what string, args ...any) {
	t.Helper()
	if !Within(Patience, cond) {
		require.FailNow(t, "waited in vain", "%s", fmt.Sprintf(what, args...))
	}
}

// Within polls until cond holds or the time is over, and says which.
func Within(d time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(d); ; time.Sleep(pollEvery) {
		if cond() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// TempDir is t.TempDir with a path short enough for unix sockets.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rc")
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// FreePort returns a port on 127.0.0.1 that nothing listened on a moment ago.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// WriteFile replaces a file as an operator's editor or Kubernetes would: the
// new content appears at once, under the old name.
func WriteFile(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}
