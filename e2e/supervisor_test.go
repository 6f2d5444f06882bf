package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// everyRole is what ps shows below the supervisor with the one upstream quay.io.
var everyRole = []string{
	"registry-cache cleaner", "registry-cache logger", "registry-cache router", "registry-cache worker quay.io",
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	shown := []string{}
	for cmdline := range a.Children() {
		shown = append(shown, cmdline)
	}
	slices.Sort(shown)
	require.Equal(t, everyRole, shown)
	a.WaitLog(`"process":"worker quay.io"`, `"ready"`)
}

// A process that dies costs what it had in flight; the socket stays open, so
// nobody is refused.
func TestKilledProcessIsRestartedBehindItsOpenSocket(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	for _, victim := range []string{"registry-cache worker quay.io", "registry-cache router"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			a := harness.Start(t, harness.Options{
				Logins: map[string]string{"quay.io": harness.Login},
				Upstreams: map[string]harness.Settings{
					"quay.io": u.Settings(), "other.example": u.Settings(),
				},
			})
			before := a.Children()
			load := pullMeanwhile(t, a)
			for range 2 {
				pid := a.Child(t, victim)
				require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
				harness.Eventually(t, func() bool { return a.Child(t, victim) != pid }, "%s is restarted", victim)
				harness.Eventually(t, func() bool {
					answer, err := a.HTTP(t).Do(http.MethodGet, manifestPath)
					return err == nil && answer.Status == http.StatusOK
				}, "pulls work again")
			}
			load.stop()
			require.NoError(t, load.refused.err(), "a connection was refused")
			require.NotZero(t, load.good.Load())

			after := a.Children()
			require.Len(t, after, len(before))
			for cmdline, pid := range before {
				if cmdline != victim {
					require.Equal(t, pid, after[cmdline], "%s is untouched", cmdline)
				}
			}
			harness.Podman(t).Pull(a.Addr + "/quay.io/podman/hello:latest")
			require.Positive(t, a.Metric(t, "registry_cache_process_restarts_total", "process", victim[len("registry-cache "):]))
		})
	}
}

// load keeps asking with new connections.
type load struct {
	good    atomic.Int64
	refused firstError
	end     chan struct{}
	done    sync.WaitGroup
}

type firstError struct{ p atomic.Pointer[error] }

func (f *firstError) set(err error) { f.p.CompareAndSwap(nil, &err) }
func (f *firstError) err() error {
	if p := f.p.Load(); p != nil {
		return *p
	}
	return nil
}

func pullMeanwhile(t *testing.T, a *harness.Appliance) *load {
	t.Helper()
	l := &load{end: make(chan struct{})}
	for range 3 {
		caller := a.HTTP(t).With("Connection", "close")
		l.done.Go(func() {
			for {
				select {
				case <-l.end:
					return
				default:
				}
				answer, err := caller.Do(http.MethodGet, manifestPath)
				switch {
				case errors.Is(err, syscall.ECONNREFUSED):
					l.refused.set(err)
				case err == nil && answer.Status == http.StatusOK:
					l.good.Add(1)
				}
			}
		})
	}
	return l
}

func (l *load) stop() {
	close(l.end)
	l.done.Wait()
}

func TestEverythingEndsWithTheSupervisor(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	children := a.Children()
	require.Len(t, children, len(everyRole))
	a.Kill()
	for cmdline, pid := range children {
		harness.Eventually(t, func() bool { return !harness.Alive(pid) }, "%s ends", cmdline)
	}
	a.Start() // nothing is left that would be in the way
}

// A download that runs when SIGTERM arrives is finished, then the cache ends.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, cached := range []bool{false, true} {
		t.Run(fmt.Sprintf("cached=%t", cached), func(t *testing.T) {
			t.Parallel()
			u := harness.NewOpenUpstream(t)
			img := harness.Image(t, 16<<20)
			u.Push(t, "podman/hello:latest", img)
			layer, content := harness.Layer(t, img, 0)
			a := harness.Cache(t, u)
			path := "/v2/quay.io/podman/hello/blobs/" + layer
			release := make(chan struct{})
			if cached {
				a.HTTP(t).Get(path)
			} else {
				u.Inject(http.MethodGet, "/blobs/", harness.WaitAfter(100_000, release))
			}

			// The body is larger than all socket buffers, so it can't have been
			// sent before it is read.
			resp, err := a.HTTP(t).Open(http.MethodGet, path)
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			start := make([]byte, 50_000)
			_, err = io.ReadFull(resp.Body, start)
			require.NoError(t, err)

			a.Signal(t, syscall.SIGTERM)
			harness.Eventually(t, func() bool {
				_, err := a.HTTP(t).Do(http.MethodGet, "/v2/")
				return errors.Is(err, syscall.ECONNREFUSED)
			}, "no new connection is accepted")
			require.False(t, a.Ended())
			close(release)
			rest, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, append(start, rest...)), "the download is whole")
			require.Equal(t, 0, a.Wait(t))
		})
	}
}

// Twenty upstreams come up in one go.
func TestTwentyUpstreams(t *testing.T) {
	t.Parallel()
	u := harness.NewOpenUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	upstreams := map[string]harness.Settings{}
	for i := range 20 {
		upstreams[fmt.Sprintf("registry-%d.example", i)] = u.Settings()
	}
	a := harness.Start(t, harness.Options{Upstreams: upstreams})
	for name := range upstreams {
		require.NotZero(t, a.Children()["registry-cache worker "+name], "ready means that %s is there", name)
		a.HTTP(t).Get("/v2/" + name + "/podman/hello/manifests/latest")
	}
}

// An upstream that is down, or whose worker can't start, is no reason not to
// serve the others.
func TestStartsWithTheUpstreamDown(t *testing.T) {
	t.Parallel()
	up, down := harness.NewOpenUpstream(t), harness.NewOpenUpstream(t)
	up.Push(t, "podman/hello:latest", harness.Image(t, 100))
	down.Stop()
	a := harness.Start(t, harness.Options{Upstreams: map[string]harness.Settings{
		"quay.io": up.Settings(), "down.example": down.Settings(),
	}})
	a.HTTP(t).Get(manifestPath)
}
