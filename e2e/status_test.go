package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"registrycache/e2e/harness"
	"registrycache/status"
)

// stateOf is what registry-cache status --json prints.
func stateOf(t *testing.T, a *harness.Appliance) (d status.Document) {
	t.Helper()
	out := command(t, a, "status", "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &d), out)
	return d
}

// stateWith waits for a state in which cond holds.
func stateWith(t *testing.T, a *harness.Appliance, cond func(d status.Document) bool, what string) (d status.Document) {
	t.Helper()
	harness.Eventually(t, func() bool { d = stateOf(t, a); return cond(d) }, "the state shows %s", what)
	return d
}

func upstreamOf(d status.Document, name string) status.Upstream {
	for _, u := range d.Upstreams {
		if u.Name == name {
			return u
		}
	}
	return status.Upstream{}
}

func processOf(d status.Document, name string) status.Process {
	for _, p := range d.Processes {
		if p.Name == name {
			return p
		}
	}
	return status.Process{}
}

func trafficOf(d status.Document, path string) status.UpstreamTraffic {
	if d.Traffic == nil {
		return status.UpstreamTraffic{}
	}
	for _, u := range d.Traffic.Upstreams {
		if u.Path == path {
			return u
		}
	}
	return status.UpstreamTraffic{}
}

func TestStatusOfACacheAtWork(t *testing.T) {
	t.Parallel()
	u, down := harness.NewUpstream(t), harness.NewOpenUpstream(t)
	img := harness.Image(t, 300_000)
	u.Push(t, "podman/hello:latest", img)
	a := harness.Start(t, harness.Options{
		Logins: map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{
			"quay.io": u.Settings().With("aliases", []string{"q"}), "down.example": down.Settings(),
		},
	})
	d := stateWith(t, a, func(d status.Document) bool { return d.State == "ok" }, "that all is well")
	require.NotEmpty(t, d.Version)
	require.Equal(t, status.Untried, upstreamOf(d, "quay.io").State)
	require.Equal(t, []string{"q"}, upstreamOf(d, "quay.io").Aliases)
	require.Equal(t, status.Anonymous, upstreamOf(d, "down.example").Credentials)
	children := a.Children()
	require.Len(t, d.Processes, len(children)+1)
	for _, p := range d.Processes {
		require.Equal(t, "ready", p.State, p.Name)
		require.Greater(t, p.Memory, int64(1<<20), p.Name)
		if p.Name == "supervisor" {
			require.Equal(t, a.Pid(), p.PID)
		} else {
			require.Equal(t, children["registry-cache "+p.Name], p.PID, p.Name)
		}
	}

	// Two pulls, of which the second is served from here.
	skopeo := harness.Skopeo(t)
	for range 2 {
		skopeo.Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
		complete(t, a, "quay.io/podman/hello:latest")
	}
	d = stateWith(t, a, func(d status.Document) bool {
		return trafficOf(d, "quay.io").Total.Saved >= 300_000 && d.Store != nil && !d.Store.Time.IsZero()
	}, "what the second pull saved")
	quay := upstreamOf(d, "quay.io")
	require.Equal(t, status.Answering, quay.State)
	require.Equal(t, status.Accepted, quay.Credentials)
	require.Equal(t, status.CircuitClosed, quay.Circuit)
	require.False(t, quay.Answered.IsZero())
	total := trafficOf(d, "quay.io").Total
	require.Positive(t, total.Hits)
	require.Less(t, total.Hits, total.Requests)

	// An upstream that does not answer.
	down.Stop()
	a.HTTP(t).Must(http.MethodGet, "/v2/down.example/podman/hello/manifests/latest")
	d = stateWith(t, a, func(d status.Document) bool {
		return upstreamOf(d, "down.example").State == status.Failing && len(d.Problems) > 0
	}, "the upstream that is down")
	require.Contains(t, upstreamOf(d, "down.example").Failure.Text, "connection refused")
	require.Equal(t, "worker down.example", d.Problems[0].Process)
	require.Equal(t, "warn", d.Problems[0].Level)
	require.Contains(t, d.Problems[0].Error, "connection refused")
	require.Equal(t, status.Answering, upstreamOf(d, "quay.io").State)

	text := command(t, a, "status")
	require.Regexp(t, `^registry-cache \S+ is ok, up `, text)
	require.Regexp(t, `(?m)^quay\.io +ok +closed +ok +- +-$`, text)
	require.Regexp(t, `(?m)^down\.example +failing +\w+ +anonymous +- +.*connection refused`, text)
	require.Regexp(t, `(?m)^quay\.io .*[1-9]\d? % of \d+ +[\d.]+ KiB *$`, text)
	require.Regexp(t, `(?m)^store +\[[#-]{20}\] .* of 9\.3 GiB, 0 %; cleaned above 11 GiB$`, text)
	require.Regexp(t, `(?m)^worker quay\.io +ready +\d+ `, text)
	require.Regexp(t, `(?m)^.* warn +worker down\.example +.*connection refused`, text)
	_, password, _ := strings.Cut(harness.Login, ":")
	require.NotContains(t, text, password)
}

// A transfer is shown while it runs.
func TestStatusOfAFill(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 3_000_000)
	u.Push(t, "podman/hello:latest", img)
	layer, _ := harness.Layer(t, img, 0)
	release := make(chan struct{})
	u.Inject(http.MethodGet, "/blobs/", harness.WaitAfter(2_000_000, release))
	a := harness.Cache(t, u)
	resp, err := a.HTTP(t).Open(http.MethodGet, "/v2/quay.io/podman/hello/blobs/"+layer)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	d := stateWith(t, a, func(d status.Document) bool { return len(d.Fills) == 1 && d.Fills[0].Have > 1_000_000 }, "the fill")
	fill := d.Fills[0]
	require.Equal(t, layer, fill.Digest)
	require.Equal(t, "quay.io/podman/hello", fill.Repository)
	require.EqualValues(t, resp.ContentLength, fill.Size)
	require.Less(t, fill.Have, fill.Size)
	require.Equal(t, 1, fill.Readers)
	require.Regexp(t, `(?m)^quay\.io/podman/hello +`+layer[len("sha256:"):][:12]+` +\d+ % of 2\.9 MiB `, command(t, a, "status"))
	close(release)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	stateWith(t, a, func(d status.Document) bool { return len(d.Fills) == 0 }, "that it ended")
}

// A worker that dies again and again is shown as what it is, and so is its
// upstream.
func TestStatusOfAWorkerThatDies(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	a := harness.Cache(t, u)
	d := stateWith(t, a, func(d status.Document) bool {
		// The pause before each start is twice the last.
		if pid := processOf(d, "worker quay.io").PID; pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // may have ended since
		}
		return upstreamOf(d, "quay.io").Process == "restarting"
	}, "a worker between two starts")
	require.Equal(t, "degraded", d.State)
	require.Equal(t, status.Failing, upstreamOf(d, "quay.io").State)
	require.Contains(t, upstreamOf(d, "quay.io").Failure.Text, "its worker is down (restarting) since ")
	require.Equal(t, "ready", processOf(d, "router").State)
	require.Contains(t, command(t, a, "status"), " is degraded, up ")

	d = stateWith(t, a, func(d status.Document) bool { return d.State == "ok" }, "the worker that is up again")
	require.Positive(t, processOf(d, "worker quay.io").Restarts)
	require.Equal(t, a.Child(t, "registry-cache worker quay.io"), processOf(d, "worker quay.io").PID)
	killed := 0
	for _, p := range d.Problems {
		if p.Process == "worker quay.io" && p.Level == "error" && p.Error == "signal: killed" {
			killed += p.Count
		}
	}
	require.Positive(t, killed, "%v", d.Problems)
}

func TestStatusWithoutACache(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	other := a.Command("status", "--json", "--address", a.MetricsAddr)
	other.Env = append(other.Env, "METRICS_ADDR=127.0.0.1:1")
	out, err := other.Output()
	require.NoError(t, err)
	require.True(t, json.Valid(out))
	require.Contains(t, failed(t, a.Command("status", "--address", a.Addr)), "--address wants METRICS_ADDR, not where clients pull")
	a.Stop()
	require.Contains(t, failed(t, a.Command("status")), "no registry-cache answers at METRICS_ADDR, "+a.MetricsAddr)
}

// Ctrl-C leaves the terminal as it was.
func TestStatusIsWatchedOnATerminal(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	ours, theirs := terminal(t)
	cmd := a.Command("status", "--watch")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	var shown bytes.Buffer
	piece := make([]byte, 4096)
	for pressed := false; ; {
		n, err := ours.Read(piece)
		shown.Write(piece[:n])
		if err != nil {
			break // the other end is closed
		}
		// Not before it was drawn a second time.
		if !pressed && strings.Count(shown.String(), "registry-cache ") >= 2 {
			pressed = true
			_, err := ours.WriteString("\x03")
			require.NoError(t, err)
		}
	}
	require.NoError(t, cmd.Wait(), "%q", &shown)
	require.True(t, strings.HasPrefix(shown.String(), "\x1b[?1049h\x1b[?25l"), "%q", &shown)
	require.True(t, strings.HasSuffix(shown.String(), "\x1b[?25h\x1b[?1049l"), "%q", &shown)
	require.Contains(t, shown.String(), "UPSTREAM")
}

// terminal returns both ends of a pseudoterminal (pty(7)), of 40 lines.
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	fd := int(ours.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}))
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return ours, theirs
}

// A pipe gets one block, or one object, after the other.
func TestStatusIsWatchedThroughAPipe(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	for _, args := range [][]string{{"status", "--watch"}, {"status", "--watch", "--json"}} {
		cmd := a.Command(args...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		readTwo(t, out, args)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		rest, err := io.ReadAll(out)
		require.NoError(t, err)
		require.NotContains(t, string(rest), "\x1b")
		require.NoError(t, cmd.Wait(), "%s: %s", args, rest)
	}
}

func readTwo(t *testing.T, out io.Reader, args []string) {
	t.Helper()
	if len(args) == 3 {
		documents := json.NewDecoder(out)
		for range 2 {
			var d status.Document
			require.NoError(t, documents.Decode(&d))
			require.Equal(t, "ok", d.State)
		}
		return
	}
	var shown bytes.Buffer
	piece := make([]byte, 4096)
	for strings.Count(shown.String(), " is ok, up ") < 2 {
		n, err := out.Read(piece)
		require.NoError(t, err)
		shown.Write(piece[:n])
	}
	require.NotContains(t, shown.String(), "\x1b")
}
