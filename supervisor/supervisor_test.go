package supervisor

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

func TestTwentyUpstreamsStart(t *testing.T) {
	var upstreams []config.Upstream
	for i := range 20 {
		upstreams = append(upstreams, upstream(fmt.Sprintf("r%02d.example.com", i)))
	}
	c := run(t, testConfig(t, upstreams...))

	code, body := c.readyz()
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "ok", body.Status)
	assert.Len(t, body.Processes, 23)
	pids := map[string]bool{}
	for _, u := range upstreams {
		pids[must(t)(c.router("/via/"+u.Path+"/pid"))] = true
	}
	assert.Len(t, pids, 20, "each upstream has a process of its own")
}

func TestProcessesShowTheirRoleAndNothingElse(t *testing.T) {
	u := upstream("quay.io")
	u.Credentials = []config.Credential{{Username: "robot", Password: "hunter2"}}
	cfg := testConfig(t, u, upstream("ghcr.io"))
	cfg.ChildEnv = []string{raceExit, "SSL_CERT_DIR=/certs"}
	t.Setenv("REGISTRY_TEST_SECRET", "hunter2")
	c := run(t, cfg)

	assert.Contains(t, must(t)(c.worker("quay.io", "/settings")), "hunter2")
	assert.NotContains(t, must(t)(c.worker("ghcr.io", "/settings")), "hunter2")
	for name, args := range map[string]string{
		"worker quay.io": "registry-cache worker quay.io",
		"worker ghcr.io": "registry-cache worker ghcr.io",
		"router":         "registry-cache router",
		"logger":         "registry-cache logger",
		"cleaner":        "registry-cache cleaner",
	} {
		proc := filepath.Join("/proc", itoa(c.pid(name)))
		cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		require.NoError(t, err)
		assert.Equal(t, args, strings.TrimRight(strings.ReplaceAll(string(cmdline), "\x00", " "), " "))
		environ, err := os.ReadFile(filepath.Join(proc, "environ"))
		require.NoError(t, err)
		assert.Equal(t, raceExit+"\x00SSL_CERT_DIR=/certs\x00", string(environ))
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		require.NoError(t, err)
		assert.Equal(t, "registry-cache\n", string(comm))
		group, err := syscall.Getpgid(c.pid(name))
		require.NoError(t, err)
		assert.Equal(t, c.pid(name), group, "Ctrl-C on a terminal is for the supervisor alone")
	}
	assert.NotContains(t, c.log.String(), "hunter2")
	assert.NotContains(t, metricsOf(t, c), "hunter2")
}

// Big settings (an htpasswd file of a large site) are more than a pipe holds.
func TestSettingsLargerThanAPipe(t *testing.T) {
	u := upstream("quay.io")
	u.CA = []byte(strings.Repeat("certificate ", 100_000))
	c := run(t, testConfig(t, u))
	var got config.Worker
	require.NoError(t, json.Unmarshal([]byte(must(t)(c.worker("quay.io", "/settings"))), &got))
	assert.Equal(t, u, got.Upstream)
}

func TestKilledWorkerRefusesNoConnection(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io"), upstream("ghcr.io")))
	other := c.pid("worker ghcr.io")
	router := c.pid("router")

	// Clients connect all the time; a connection may break, but never be
	// refused.
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !isClosed(stop) {
				conn, err := net.Dial("unix", c.cfg.Socket("worker-quay.io"))
				if !assert.NoError(t, err) {
					return
				}
				fmt.Fprint(conn, "GET /pid HTTP/1.0\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
	}
	for i := range 3 {
		pid := c.pid("worker quay.io")
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		eventually(t, func() bool {
			now := c.pid("worker quay.io")
			return now != 0 && now != pid
		}, "restarted")
		answer := must(t)(c.router("/via/quay.io/pid"))
		assert.NotEqual(t, itoa(pid), answer)
		assert.Len(t, c.log.find(t, "worker quay.io", "ended"), i+1)
	}
	close(stop)
	clients.Wait()
	assert.Equal(t, other, c.pid("worker ghcr.io"), "the other worker is untouched")
	assert.Equal(t, router, c.pid("router"))
	assert.Contains(t, c.log.find(t, "worker quay.io", "ended")[0].State, "killed")
	assert.Contains(t, metricsOf(t, c), `registry_cache_process_restarts_total{process="worker quay.io"} 3`)
}

func TestKilledRouterRefusesNoConnection(t *testing.T) {
	c := run(t, testConfig(t))
	pid := c.pid("router")
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	// Whether the old process is still dying or the new one starting: the
	// connection is made, and answered unless the old one took it with it.
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", c.addr.Listen)
		require.NoError(t, err)
		conn.Close()
		answer, err := c.router("/pid")
		return err == nil && answer != itoa(pid)
	}, "answered by a new router")
}

// A stopped process is one that hangs: it lives, and does nothing.
func TestProcessThatHangsIsReplaced(t *testing.T) {
	c := runWith(t, testConfig(t, upstream("quay.io"), upstream("ghcr.io")),
		vigil{every: 10 * time.Millisecond, patience: time.Second, silent: 3})
	hung, other := c.pid("worker quay.io"), c.pid("worker ghcr.io")
	require.NoError(t, syscall.Kill(hung, syscall.SIGSTOP))
	silent := false
	eventually(t, func() bool {
		_, body := c.readyz()
		for _, p := range body.Processes {
			if p.Name == "worker quay.io" && p.State == Silent {
				silent = true
				assert.Equal(t, "degraded", body.Status)
			}
		}
		now := c.pid("worker quay.io")
		return now != 0 && now != hung
	}, "another in its place")
	assert.True(t, silent, "/readyz has shown it")
	assertGone(t, hung)
	assert.Len(t, c.log.find(t, "worker quay.io", "hangs, killed"), 1)
	must(t)(c.router("/via/quay.io/pid"))
	assert.Equal(t, other, c.pid("worker ghcr.io"))
}

func TestOutputOfChildrenReachesTheLog(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	must(t)(c.worker("quay.io", "/say"))
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "through the standard logger")) == 1 }, "logged")
	said := 0
	for _, e := range c.log.find(t, "worker quay.io", "ong l") {
		said += len(e.Message)
	}
	assert.Equal(t, 1<<20/5*5, said, "all of the long line")

	_, _ = c.worker("quay.io", "/panic")
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "ended")) == 1 }, "crashed")
	crash := c.log.find(t, "worker quay.io", "panic: test panic")
	require.Len(t, crash, 1)
	assert.Equal(t, "error", crash[0].Level)
	assert.NotEmpty(t, c.log.find(t, "worker quay.io", "goroutine "), "its trace is there before the word of its end")
	must(t)(c.router("/via/quay.io/pid"))
}

func TestDrainKeepsTheOrder(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	worker := c.pid("worker quay.io")
	answer := make(chan string, 1)
	go func() {
		body, err := c.router("/via/quay.io/hold")
		answer <- fmt.Sprint(body, err)
	}()
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "holding")) == 1 }, "in flight")

	c.stop()
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", c.addr.Listen)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, "new connections are refused")
	code, body := c.readyz()
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Equal(t, "draining", body.Status)
	assertAlive(t, worker)
	must(t)(c.worker("quay.io", "/release"))

	assert.Equal(t, "released<nil>", <-answer)
	require.NoError(t, c.ended())
	assert.Empty(t, answer)
	var order []string
	for _, e := range c.log.entries(t) {
		if e.Message == "stopping" {
			order = append(order, e.Process)
		}
	}
	assert.Equal(t, []string{"router", "worker quay.io", "logger", "cleaner"}, order)
	assertGone(t, worker)
	left, err := filepath.Glob(filepath.Join(c.cfg.RunDir, "*.sock"))
	require.NoError(t, err)
	assert.Empty(t, left, "sockets are removed")
}

func TestDrainEndsWithItsGrace(t *testing.T) {
	cfg := testConfig(t, upstream("quay.io"))
	cfg.Drain = 1 // nanosecond: over before anything can finish
	c := run(t, cfg)
	go func() { _, _ = c.router("/via/quay.io/hold") }()
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "holding")) == 1 }, "in flight")
	pids := []int{c.pid("router"), c.pid("worker quay.io"), c.pid("logger"), c.pid("cleaner")}
	c.stop()
	require.NoError(t, c.ended())
	for _, pid := range pids {
		assertGone(t, pid)
	}
}

// supervise runs a supervisor as a process of its own.
func supervise(t *testing.T, cfg *config.Config) (*exec.Cmd, *cache) {
	t.Helper()
	settings, err := json.Marshal(cfg)
	require.NoError(t, err)
	cmd := testBinary("supervise")
	cmd.Stdin = strings.NewReader(string(settings))
	c := &cache{t: t, cfg: cfg, log: &logs{}}
	cmd.Stderr = c.log
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(c.log.String())
		}
	})
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	require.NoError(t, json.NewDecoder(out).Decode(&c.addr), "not started")
	return cmd, c
}

func TestChildrenEndWithAKilledSupervisor(t *testing.T) {
	cmd, c := supervise(t, testConfig(t, upstream("quay.io")))
	_, body := c.readyz()
	require.Len(t, body.Processes, 4)
	require.NoError(t, cmd.Process.Kill())
	for _, p := range body.Processes {
		assertGone(t, p.PID)
	}
	// The RUNDIR is free again, and what lies in it is no obstacle.
	_ = cmd.Wait()
	again := run(t, c.cfg)
	must(t)(again.worker("quay.io", "/pid"))
}

func TestOneSignalDrainsAndASecondEndsAtOnce(t *testing.T) {
	cmd, c := supervise(t, testConfig(t, upstream("quay.io")))
	go func() { _, _ = c.router("/via/quay.io/hold") }()
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "holding")) == 1 }, "in flight")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, func() bool { return len(c.log.find(t, "router", "stopping")) == 1 }, "draining")
	assert.Empty(t, c.log.find(t, "", "second signal"), "the one signal counts once")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait())
	assert.Len(t, c.log.find(t, "", "second signal"), 1)
	assert.Empty(t, c.log.find(t, "logger", "stopping"), "nothing is waited for")
}

func TestSecondSupervisorInOneRunDir(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	cfg := *c.cfg
	err := Run(t.Context(), &cfg, Options{Command: testBinary})
	require.ErrorContains(t, err, "RUNDIR "+cfg.RunDir+" is in use by a running registry-cache (pid "+itoa(os.Getpid())+")")
	must(t)(c.router("/via/quay.io/pid"))
}

func TestStoreThatCantBe(t *testing.T) {
	cfg := testConfig(t, upstream("quay.io"))
	write(t, cfg.StoreDir, "a file of somebody's")
	err := Run(t.Context(), cfg, Options{Command: testBinary})
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.ErrorContains(t, err, "REGISTRYDIR: open the store: mkdir "+cfg.StoreDir)
	require.ErrorContains(t, err, "set REGISTRYDIR to a directory that user "+itoa(os.Getuid()))
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for variable, set := range map[string]func(*config.Config){
		"LISTEN_ADDR":  func(c *config.Config) { c.ListenAddr = l.Addr().String() },
		"METRICS_ADDR": func(c *config.Config) { c.MetricsAddr = l.Addr().String() },
	} {
		t.Run(variable, func(t *testing.T) {
			cfg := testConfig(t, upstream("quay.io"))
			set(cfg)
			err := Run(t.Context(), cfg, Options{Command: testBinary})
			require.ErrorContains(t, err, variable+": "+l.Addr().String()+" is in use by another program; stop that one, or set "+variable+" to a free port")
		})
	}
}
