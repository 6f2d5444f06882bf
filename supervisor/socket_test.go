package supervisor

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Starting a process asks for the number of each file handed down. That must
// not turn the socket to blocking mode under those that accept on it.
func TestHeldSocketKeepsItsMode(t *testing.T) {
	s, err := listenUnix(filepath.Join(t.TempDir(), "x.sock"))
	require.NoError(t, err)
	defer s.close()
	l, err := net.FileListener(s.file) // as a child does
	require.NoError(t, err)
	defer l.Close()
	flags, err := unix.FcntlInt(s.file.Fd(), unix.F_GETFL, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.O_NONBLOCK)
	flags, err = unix.FcntlInt(s.file.Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.FD_CLOEXEC, "only its own child inherits it")
}

func TestUnixSocketIsForThisUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	s, err := listenUnix(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	s.close()
	assert.NoFileExists(t, path)
}

func TestClosedSocketLeavesItsSuccessorsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	old, err := listenUnix(path)
	require.NoError(t, err)
	next, err := listenUnix(path)
	require.NoError(t, err)
	defer next.close()
	old.close()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	conn.Close()
}

func TestListenTCPErrors(t *testing.T) {
	_, err := listenTCP("LISTEN_ADDR", "nonsense")
	require.ErrorContains(t, err, "LISTEN_ADDR: ")
	require.ErrorContains(t, err, "the form is host:port or :port")
	_, err = listenTCP("LISTEN_ADDR", "192.0.2.1:0") // RFC 5737: nobody's
	require.EqualError(t, err, "LISTEN_ADDR: 192.0.2.1:0 is no address of this machine; set LISTEN_ADDR to one that is, or to :port for all")
}

func TestRunDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "run")
	lock, err := lockRunDir(dir)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, err = lockRunDir(dir)
	require.ErrorContains(t, err, "is in use by a running registry-cache (pid "+itoa(os.Getpid())+")")
	lock.Close()

	// What a killed supervisor leaves behind.
	stale, err := net.Listen("unix", filepath.Join(dir, "worker-gone.sock"))
	require.NoError(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	write(t, filepath.Join(dir, "no.sock"), "a file of somebody's")
	lock, err = lockRunDir(dir)
	require.NoError(t, err)
	defer lock.Close()
	assert.NoFileExists(t, filepath.Join(dir, "worker-gone.sock"))
	assert.FileExists(t, filepath.Join(dir, "no.sock"))
}

func TestRunDirThatCantBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	_, err := lockRunDir(filepath.Join(file, "run"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.ErrorContains(t, err, "RUNDIR: ")
	require.ErrorContains(t, err, "set RUNDIR to a directory that can be written")
}
