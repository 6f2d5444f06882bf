package pullthrough

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
	"registrycache/status"
)

// described is what is said of an upstream of which the client knows u.
func (b *bench) described(u status.Upstream) status.Upstream {
	b.Describe(&u)
	return u
}

func TestCircuitIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		asked := status.Upstream{State: status.Answering}
		assert.Equal(t, status.Upstream{Path: "quay.io", State: status.Answering, Circuit: status.CircuitClosed}, b.described(asked))
		assert.Equal(t, status.Untried, b.described(status.Upstream{State: status.Untried}).State)

		_, blobs := b.up.addImage(t, "podman/hello", "latest", "hello")
		require.NoError(t, b.byTag("podman/hello", "latest").err)
		b.have("podman/hello", blobs...)
		release := b.up.hanging()
		require.Equal(t, accesslog.Stale, b.byTag("podman/hello", "latest").cache)
		slow := time.Now()

		u := b.described(asked)
		assert.Equal(t, status.CircuitOpen, u.Circuit)
		assert.Equal(t, status.Failing, u.State, "also when a blob was had meanwhile")
		assert.Equal(t, &status.Failure{Time: slow, Text: errSlow.Error()}, u.Failure)
		assert.Equal(t, 1.0, testutil.ToFloat64(b.metrics.open))

		earlier := &status.Failure{Time: slow.Add(-time.Second), Text: "earlier"}
		later := &status.Failure{Time: slow.Add(time.Second), Text: "later"}
		assert.Equal(t, errSlow.Error(), b.described(status.Upstream{Failure: earlier}).Failure.Text)
		assert.Equal(t, later, b.described(status.Upstream{Failure: later}).Failure)

		close(release)
		time.Sleep(minPause)
		synctest.Wait()
		u = b.described(asked)
		assert.Equal(t, status.CircuitClosed, u.Circuit)
		assert.Equal(t, status.Answering, u.State)
		assert.Equal(t, errSlow.Error(), u.Failure.Text, "the last failure stays known")
		assert.Zero(t, testutil.ToFloat64(b.metrics.open))
	})
}

func TestLapsedCircuitIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.circuit.failed(upErr(upstream.Unavailable), 0)
		require.Equal(t, status.CircuitOpen, b.described(status.Upstream{}).Circuit)
		time.Sleep(minPause)
		synctest.Wait()
		u := b.described(status.Upstream{State: status.Answering})
		assert.Equal(t, status.CircuitClosed, u.Circuit, "nobody has a tag to probe with")
		assert.Equal(t, status.Answering, u.State)
		assert.Zero(t, testutil.ToFloat64(b.metrics.open))
		assert.Equal(t, 1.0, testutil.ToFloat64(b.metrics.failing), "no tag was checked since")
	})
}

func TestOfflineIsDescribed(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Offline = true })
	u := b.described(status.Upstream{State: status.Untried})
	assert.Equal(t, status.Offline, u.State)
	assert.Equal(t, status.CircuitClosed, u.Circuit)
}
