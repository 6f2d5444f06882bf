package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
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

// The ports that FreePort gives out lie below those from which the kernel picks
// for outgoing connections (ip_local_port_range): a port of that range may be
// taken while what listens on it is being restarted.
const firstPort, lastPort = 12000, 32000

// nextPort is where FreePort looks next. It starts anywhere, so that two test
// processes at once seldom look at the same place.
var nextPort atomic.Int64

func init() { nextPort.Store(rand.Int64N(lastPort - firstPort)) }

// FreePort returns a port on 127.0.0.1 that nothing listens on, and that this
// process did not give out before.
func FreePort(t testing.TB) string {
	t.Helper()
	for range lastPort - firstPort {
		port := fmt.Sprint(firstPort + nextPort.Add(1)%(lastPort-firstPort))
		if isFree(port) {
			return port
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

// isFree tells whether one can listen on a port. No process is started
// meanwhile: it would hold a copy of the socket until it runs its program, and
// the port would be in use for that long after all.
func isFree(port string) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	return err == nil && l.Close() == nil
}

// WriteFile replaces a file as an operator's editor or Kubernetes would: the
// new content appears at once, under the old name.
func WriteFile(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}
