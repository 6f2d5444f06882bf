package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
	"registrycache/status"
)

// waitTraffic waits until so many requests of quay.io were counted, and returns
// the traffic and that upstream's.
func waitTraffic(t *testing.T, a *harness.Appliance, requests int64) (status.Traffic, status.UpstreamTraffic) {
	t.Helper()
	var traffic status.Traffic
	of := func() status.UpstreamTraffic {
		for _, u := range traffic.Upstreams {
			if u.Path == "quay.io" {
				return u
			}
		}
		return status.UpstreamTraffic{}
	}
	harness.Eventually(t, func() bool {
		if got := document(t, a).Traffic; got != nil { // nil while the logger starts
			traffic = *got
		}
		return of().Total.Requests >= requests
	}, "%d requests of quay.io are counted", requests)
	return traffic, of()
}

// What clients pulled is counted, once, however the logger or all of the cache
// ended in between, and also when the run directory was in memory.
func TestTrafficIsKept(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	multi, single := harness.Index(t, 40_000), harness.Image(t, 3000, 20_000)
	u.Push(t, "podman/multi:1", multi)
	u.Push(t, "podman/hello:latest", single)
	a := harness.Cache(t, u)
	skopeo := harness.Skopeo(t)
	pull := func(image string) { skopeo.Copy(a.Addr+image, "--src-tls-verify=false") }
	const hello, index = "/quay.io/podman/hello:latest", "/quay.io/podman/multi:1"
	// The manifest, the config, and two layers; or the index, the manifest, the
	// config, and two layers.
	const forHello, forIndex = 4, 5

	began := time.Now().Add(-time.Second)
	pull(hello)
	_, fetched := waitTraffic(t, a, forHello)
	require.EqualValues(t, forHello, fetched.Total.Requests)
	require.Zero(t, fetched.Total.Hits)
	require.Zero(t, fetched.Total.Saved)
	require.Greater(t, fetched.Total.Sent, int64(23_000))
	pull(hello)
	pull(index)
	traffic, counted := waitTraffic(t, a, 2*forHello+forIndex)
	require.EqualValues(t, 2*forHello+forIndex, counted.Total.Requests)
	require.EqualValues(t, forHello, counted.Total.Hits)
	require.Equal(t, fetched.Total.Sent, counted.Total.Saved, "the second pull cost the upstream nothing")
	require.Equal(t, counted.Total, counted.Week)
	require.Len(t, traffic.Hours, 7*24)
	require.WithinRange(t, traffic.Since, began.Truncate(time.Second), time.Now())

	pulls := func(traffic status.Traffic) map[string]int64 {
		pulls := map[string]int64{}
		for _, i := range traffic.Busiest {
			pulls[i.Name] = i.Pulls
			require.WithinRange(t, i.First, began.Truncate(time.Second), time.Now())
		}
		return pulls
	}
	same := func(traffic status.Traffic, hellos, indexes int64) {
		t.Helper()
		require.Equal(t, map[string]int64{hello[1:]: hellos, index[1:]: indexes}, pulls(traffic))
		require.Equal(t, index[1:], traffic.Newest[0].Name)
		require.Equal(t, hello[1:], traffic.Newest[1].Name)
	}
	same(traffic, 2, 1)

	a.Restart()
	traffic, again := waitTraffic(t, a, 2*forHello+forIndex)
	require.Equal(t, counted, again)
	same(traffic, 2, 1)

	// What was counted since is not in the file yet, but in the log.
	pull(hello)
	waitTraffic(t, a, 3*forHello+forIndex)
	logger := a.Child(t, "registry-cache logger")
	require.NoError(t, syscall.Kill(logger, syscall.SIGKILL))
	pull(index)
	harness.Eventually(t, func() bool { return a.Child(t, "registry-cache logger") != logger }, "the logger is restarted")
	traffic, again = waitTraffic(t, a, 3*forHello+2*forIndex)
	require.EqualValues(t, 3*forHello+2*forIndex, again.Total.Requests, "each counts once")
	require.EqualValues(t, 2*forHello+forIndex, again.Total.Hits)
	same(traffic, 3, 2)

	// A container's run directory is gone when it is made anew.
	pull(hello)
	a.Stop()
	require.NoError(t, os.RemoveAll(a.RunDir()))
	a.Start()
	traffic, again = waitTraffic(t, a, 4*forHello+2*forIndex)
	require.EqualValues(t, 4*forHello+2*forIndex, again.Total.Requests, "the last pull was counted before the end")
	same(traffic, 4, 2)
	pull(hello)
	_, again = waitTraffic(t, a, 5*forHello+2*forIndex)
	require.EqualValues(t, 5*forHello+2*forIndex, again.Total.Requests)
}
