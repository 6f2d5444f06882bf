package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
	"registrycache/status"
)

// document is the state of the cache as it is told on the metrics address.
func document(t *testing.T, a *harness.Appliance) status.Document {
	t.Helper()
	var d status.Document
	require.NoError(t, json.Unmarshal(a.Metrics(t).Get(status.Path).Body, &d))
	return d
}

// waitUpstream waits until an upstream is shown as it should be, and returns it.
func waitUpstream(t *testing.T, a *harness.Appliance, name string, as func(status.Upstream) bool) status.Upstream {
	t.Helper()
	var shown status.Upstream
	harness.Eventually(t, func() bool {
		for _, u := range document(t, a).Upstreams {
			if u.Name == name {
				shown = u
			}
		}
		return as(shown)
	}, "%s is shown as it is", name)
	return shown
}

// The state says of each upstream whether it answers, whether it takes the
// credentials, and what it still gives.
func TestStatusOfUpstreams(t *testing.T) {
	t.Parallel()
	up := map[string]*harness.Upstream{}
	settings := map[string]harness.Settings{}
	for _, name := range []string{"down.test", "limited.test", "private.test", "unused.test"} {
		up[name] = harness.NewOpenUpstream(t)
		up[name].Push(t, "team/app:1", harness.Image(t, 100))
		settings[name] = up[name].Settings()
	}
	up["limited.test"].Inject("", "/manifests/", harness.AddHeader("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=21600"))
	up["private.test"].Inject("", "", harness.WantBasic("robot", "another"))
	a := harness.Start(t, harness.Options{
		Logins: map[string]string{"private.test": harness.Login, "private.test/public": "robot:another"}, Upstreams: settings,
	})
	c := a.HTTP(t)

	unused := waitUpstream(t, a, "unused.test", func(u status.Upstream) bool { return u.State == status.Untried })
	require.Equal(t, status.Anonymous, unused.Credentials)
	require.Equal(t, status.CircuitClosed, unused.Circuit)
	require.Equal(t, "unused.test", unused.Path)
	require.Equal(t, "ready", unused.Process)

	begun := time.Now().Add(-time.Second) // some clocks are coarse
	c.Get("/v2/limited.test/team/app/manifests/1")
	c.Fails(http.MethodGet, "/v2/limited.test/team/app/manifests/none", http.StatusNotFound, "MANIFEST_UNKNOWN")
	limited := waitUpstream(t, a, "limited.test", func(u status.Upstream) bool { return u.RateLimit != nil })
	require.Equal(t, status.Answering, limited.State)
	require.Nil(t, limited.Failure, "that there is no such tag is an answer")
	require.WithinRange(t, limited.Answered, begun, time.Now())
	require.WithinRange(t, limited.RateLimit.Time, begun, time.Now())
	limited.RateLimit.Time = time.Time{}
	require.Equal(t, &status.RateLimit{Limit: 100, Remaining: 76, Window: status.Seconds(6 * time.Hour)}, limited.RateLimit)

	unusedYet := waitUpstream(t, a, "private.test", func(u status.Upstream) bool { return u.State == status.Untried })
	require.Equal(t, status.Unused, unusedYet.Credentials)
	c.Fails(http.MethodGet, "/v2/private.test/team/app/manifests/1", http.StatusForbidden, "DENIED")
	private := waitUpstream(t, a, "private.test", func(u status.Upstream) bool { return u.Credentials == status.PartRefused })
	require.Equal(t, status.Failing, private.State)
	require.Contains(t, private.Failure.Text, "check the credentials for private.test in the pull secret")
	require.NotContains(t, private.Failure.Text, "pass:w0rd")
	c.Fails(http.MethodGet, "/v2/private.test/public/app/manifests/1", http.StatusNotFound, "MANIFEST_UNKNOWN")
	waitUpstream(t, a, "private.test", func(u status.Upstream) bool {
		return u.State == status.Answering && u.Credentials == status.PartRefused
	})

	c.Get("/v2/down.test/team/app/manifests/1")
	answered := waitUpstream(t, a, "down.test", func(u status.Upstream) bool { return u.State == status.Answering }).Answered
	up["down.test"].Stop()
	_ = c.Must(http.MethodGet, "/v2/down.test/team/app/manifests/1")
	down := waitUpstream(t, a, "down.test", func(u status.Upstream) bool { return u.State == status.Failing })
	require.Equal(t, status.CircuitOpen, down.Circuit)
	require.Equal(t, answered, down.Answered)
	require.Contains(t, down.Failure.Text, "down.test: resolve team/app:1: unavailable")
	require.WithinRange(t, down.Failure.Time, answered, time.Now())
	require.Equal(t, 1.0, a.Metric(t, "registry_cache_upstream_circuit_open", "upstream", "down.test"))

	up["down.test"].Start()
	back := waitUpstream(t, a, "down.test", func(u status.Upstream) bool {
		_ = c.Must(http.MethodGet, "/v2/down.test/team/app/manifests/1")
		return u.State == status.Answering
	})
	require.Equal(t, status.CircuitClosed, back.Circuit)
	require.NotNil(t, back.Failure, "the last error stays to be seen")
	require.True(t, back.Answered.After(back.Failure.Time))
}

// Credentials that are refused are shown until others are accepted.
func TestStatusOfRefusedCredentials(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 100))
	a := harness.Cache(t, u)
	a.HTTP(t).Get(manifestPath)
	waitUpstream(t, a, "quay.io", func(u status.Upstream) bool { return u.Credentials == status.Accepted })

	u.Tokens.RemoveUser("robot")
	a.Restart() // it would use its token for as long as that is good
	a.HTTP(t).Fails(http.MethodGet, manifestPath, http.StatusForbidden, "DENIED")
	refused := waitUpstream(t, a, "quay.io", func(u status.Upstream) bool { return u.Credentials == status.Refused })
	require.Equal(t, status.Failing, refused.State)
	require.Contains(t, refused.Failure.Text, "check the credentials for quay.io in the pull secret")
	require.NotContains(t, refused.Failure.Text, "w0rd")
}

// A transfer is shown while it runs, also one that stalls.
func TestStatusOfFills(t *testing.T) {
	t.Parallel()
	const size, part = 3_000_000, 1_000_000
	d := harness.NewDepot(t)
	a := d.Cache(t, nil)
	require.Empty(t, document(t, a).Fills)
	blob, content := d.Random(t, size)
	rest := make(chan struct{})
	d.Inject(http.MethodGet, blob, harness.WaitAfter(part, rest))
	begun := time.Now().Add(-time.Second) // some clocks are coarse
	done := make(chan harness.Answer, 1)
	c := a.HTTP(t)
	go func() {
		answer, _ := c.Do(http.MethodGet, blobs+blob)
		done <- answer
	}()
	var fills []status.Fill
	harness.Eventually(t, func() bool {
		fills = document(t, a).Fills
		return len(fills) == 1 && fills[0].Have == part
	}, "the fill is shown with what it has")
	require.WithinRange(t, fills[0].Since, begun, time.Now())
	fills[0].Since, fills[0].Rate = time.Time{}, 0
	require.Equal(t, status.Fill{
		Upstream: "quay.io", Repository: "quay.io/podman/hello", Digest: blob, Size: size, Have: part, Readers: 1, Connections: 1,
	}, fills[0])

	close(rest)
	require.Equal(t, content, (<-done).Body)
	a.WaitStored(t, blob)
	harness.Eventually(t, func() bool { return len(document(t, a).Fills) == 0 }, "the fill is over")
}
