package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/logger/logtest"
)

// raceExit has processes that are built with the race detector end at once, not
// after the second in which it waits for more races to happen.
const raceExit = "GORACE=atexit_sleep_ms=0"

// patience is how long tests wait for what other processes do.
const patience = 20 * time.Second

// TestMain lets this binary play the children of the supervisors under test,
// and a supervisor of its own, by the role in its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if play := roles[os.Args[1]]; play != nil {
			if err := play(); err != nil {
				os.Stderr.WriteString("test: " + err.Error() + "\n")
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	// Connections that tests leave idle would count as leaks.
	http.DefaultTransport.(*http.Transport).DisableKeepAlives = true
	goleak.VerifyTestMain(m)
}

// testBinary runs a role in this test binary.
func testBinary(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"registry-cache", role}, args...)
	cmd.Env = append(os.Environ(), raceExit) // of those that a supervisor does not start
	return cmd
}

// logs is a log with what tests look for in it.
type logs struct{ logtest.Buffer }

// entry is a log line.
type entry struct {
	Process, Level, Message, Error, State string
	Count                                 int
}

func (l *logs) entries(t *testing.T) []entry {
	var all []entry
	for line := range strings.Lines(l.String()) {
		var e entry
		require.NoError(t, json.Unmarshal([]byte(line), &e), "%q", line)
		all = append(all, e)
	}
	return all
}

// find returns the entries of process whose message contains text.
func (l *logs) find(t *testing.T, process, text string) []entry {
	var found []entry
	for _, e := range l.entries(t) {
		if e.Process == process && strings.Contains(e.Message, text) {
			found = append(found, e)
		}
	}
	return found
}

// cache is a supervisor under test.
type cache struct {
	t    *testing.T
	cfg  *config.Config
	log  *logs
	addr Addresses
	// stop ends Run's context; result then has what Run returned.
	stop   context.CancelFunc
	result chan error

	mu      sync.Mutex
	next    *config.Config
	nextErr error
}

// testConfig is a configuration with workers for upstreams.
func testConfig(t *testing.T, upstreams ...config.Upstream) *config.Config {
	dir := t.TempDir()
	return &config.Config{
		Upstreams:   upstreams,
		RunDir:      filepath.Join(dir, "run"),
		StoreDir:    filepath.Join(dir, "store"),
		ListenAddr:  "127.0.0.1:0",
		MetricsAddr: "127.0.0.1:0",
		LogLevel:    "debug",
		Drain:       patience,
		ChildEnv:    []string{raceExit},
	}
}

func upstream(name string) config.Upstream {
	return config.Upstream{Name: name, Path: strings.ReplaceAll(name, ":", "_"), URL: "https://" + name}
}

// run starts a supervisor and waits until it has started.
func run(t *testing.T, cfg *config.Config) *cache {
	t.Helper()
	return runWith(t, cfg, usualVigil)
}

func runWith(t *testing.T, cfg *config.Config, v vigil) *cache {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &cache{t: t, cfg: cfg, log: &logs{}, stop: cancel, result: make(chan error, 1), next: cfg}
	started := make(chan Addresses, 1)
	go func() {
		c.result <- Run(ctx, cfg, Options{
			Load:      c.load,
			Log:       zerolog.New(c.log).With().Timestamp().Logger(),
			LogOutput: c.log,
			Version:   "v1.2.3",
			Command:   testBinary,
			Started:   func(a Addresses) { started <- a },
			vigil:     v,
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-c.result:
		case <-time.After(2 * patience):
			t.Error("the supervisor did not end")
		}
		if t.Failed() {
			t.Log(c.log.String())
		}
	})
	select {
	case c.addr = <-started:
	case err := <-c.result:
		c.result <- err
		require.NoError(t, err)
	case <-time.After(2 * patience):
		t.Fatal("not started", c.log.String())
	}
	return c
}

// ended returns what Run returned.
func (c *cache) ended() error {
	err := <-c.result
	c.result <- err
	return err
}

func (c *cache) load() (*config.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next, c.nextErr
}

// prepare makes cfg or err what the next reload finds.
func (c *cache) prepare(cfg *config.Config, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next, c.nextErr = cfg, err
}

// with returns a copy of the cache's configuration with other upstreams.
func (c *cache) with(upstreams ...config.Upstream) *config.Config {
	next := *c.cfg
	next.Upstreams = upstreams
	return &next
}

// worker asks the worker of the upstream at path, whichever process it is.
func (c *cache) worker(path, question string) (string, error) {
	return ask("unix", c.cfg.Socket("worker-"+path), question)
}

// router asks the router.
func (c *cache) router(question string) (string, error) {
	return ask("tcp", c.addr.Listen, question)
}

// readyz returns the status code and body of /readyz.
func (c *cache) readyz() (int, readiness) {
	resp, err := http.Get("http://" + c.addr.Metrics + "/readyz")
	require.NoError(c.t, err)
	defer resp.Body.Close()
	var body readiness
	require.NoError(c.t, json.NewDecoder(resp.Body).Decode(&body))
	return resp.StatusCode, body
}

// pid returns the process that plays name.
func (c *cache) pid(name string) int {
	_, body := c.readyz()
	for _, p := range body.Processes {
		if p.Name == name {
			return p.PID
		}
	}
	return 0
}

// eventually waits for what other processes do.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

// must returns the answer of a question that is answered.
func must(t *testing.T) func(answer string, err error) string {
	return func(answer string, err error) string {
		t.Helper()
		require.NoError(t, err)
		return answer
	}
}

// ask sends one request over a new connection and returns the body.
func ask(network, addr, question string) (string, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
		DisableKeepAlives: true,
	}
	client := http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Get("http://test" + question)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

func assertGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
		// A zombie has ended; whoever adopted it has yet to say so.
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	}, "process still there")
}

func assertAlive(t *testing.T, pid int) {
	t.Helper()
	assert.DirExists(t, filepath.Join("/proc", itoa(pid)))
}
