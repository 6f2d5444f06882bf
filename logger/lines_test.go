package logger

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

func TestLinesAreCounted(t *testing.T) {
	c := newCached(t)
	l, _ := newLines(c.store, zerolog.Nop())
	l.line([]byte(`{"time":`))
	l.line(line(t, record("catalog", "", landed)))
	l.line(line(t, record("catalog", "", landed)))
	for range 3 {
		l.line(line(t, record("blobs", c.layer, landed)))
	}
	for kind, want := range map[string]int{"damaged": 1, "other": 2, "use": 3} {
		require.EqualValues(t, want, value(t, l.metrics.lines.WithLabelValues(kind)), kind)
	}
}

func TestMetricsFollowConventions(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, newMetrics().register(reg, func() uint64 { return 7 }))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	n, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Equal(t, 6, n, "also those that count nothing yet")
}

// pulled is a record of a tag as the router writes it.
func (c cached) pulled(at time.Time) accesslog.Record {
	r := record("manifests", c.index, at)
	r.RemoteAddr, r.Path, r.UserAgent = "10.0.0.7:43210", "/v2/quay.io/podman/hello/manifests/latest", "containers/5.34.0"
	r.Upstream, r.Repository, r.Reference, r.Bytes = "quay.io", repo, "latest", 1234
	return r
}

func BenchmarkLine(b *testing.B) {
	c := newCached(b)
	l, _ := newLines(c.store, zerolog.Nop())
	text := line(b, c.pulled(landed.Add(time.Hour)))
	b.ReportAllocs()
	for b.Loop() {
		l.line(text)
	}
}
