package cleaner

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

func TestMetricsSayWhatTheLastLookDid(t *testing.T) {
	s := newStore(t)
	s.image(t, "quay.io/a", "1", 10)
	s.image(t, "quay.io/a", "2", 200)
	set := config.Cleaner{MaxSize: 1, MaxAge: 100 * time.Hour, Pins: []string{"quay.io/a:1"}}
	s.run(t, set)
	require.EqualValues(t, 1, s.metric(t, "registry_cache_store_limit_bytes"))
	require.EqualValues(t, blobBytes+4096, s.metric(t, "registry_cache_store_bytes"))
	require.EqualValues(t, blobBytes+4095, s.metric(t, "registry_cache_clean_missing_bytes"))
	require.InDelta(t, float64(s.now().Unix()), s.metric(t, "registry_cache_last_clean_timestamp_seconds"), 60)
	require.Positive(t, s.metric(t, "registry_cache_last_clean_duration_seconds"))
	require.EqualValues(t, 2, testutil.ToFloat64(s.metrics.evictions.WithLabelValues("age")))
	require.EqualValues(t, blobBytes+4096, testutil.ToFloat64(s.metrics.evicted.WithLabelValues("age")))
	require.Zero(t, testutil.ToFloat64(s.metrics.evictions.WithLabelValues("limit")))
}

func TestMetricsFollowConventions(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.store.RememberVerify(images.Verified{}, time.Now()))
	problems, err := testutil.GatherAndLint(s.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestMetricsOfTheLastVerify(t *testing.T) {
	s := newStore(t)
	count := func() int {
		n, err := testutil.GatherAndCount(s.reg, "registry_cache_verify_bad_blobs", "registry_cache_verify_last_timestamp_seconds")
		require.NoError(t, err)
		return n
	}
	require.Zero(t, count(), "there was none")
	require.NoError(t, s.store.RememberVerify(images.Verified{Blobs: 7, Bad: make([]images.BadBlob, 3)}, time.Unix(1e9, 0)))
	require.Equal(t, 2, count())
	require.EqualValues(t, 3, s.metric(t, "registry_cache_verify_bad_blobs"))
	require.EqualValues(t, 7, s.metric(t, "registry_cache_verify_blobs"))
	require.EqualValues(t, 1e9, s.metric(t, "registry_cache_verify_last_timestamp_seconds"))
}

// A command beside the running cleaner tells it what it removed.
func TestTheRunningCleanerKnowsWhatACommandRemoved(t *testing.T) {
	s := newStore(t)
	m, _ := s.image(t, "quay.io/a", "1", 10)
	old := time.Now().Add(-2 * youngAge)
	setLanded(t, s, m, old)
	set := config.Cleaner{MaxSize: 1 << 40}
	before := s.run(t, set).After
	none := int64(0)
	r, err := Clean(context.Background(), s.store, set, Options{To: &none})
	require.NoError(t, err)
	require.EqualValues(t, 4096, r.Before-r.After)
	require.EqualValues(t, blobBytes, r.Young)

	_, err = s.pressed(context.Background(), set) // asks what landed
	require.NoError(t, err)
	require.EqualValues(t, before-4096, s.metric(t, "registry_cache_store_bytes"))
	s.blob(t, "found by a walk", 10)
	got, err := s.look(context.Background(), set)
	require.NoError(t, err)
	require.EqualValues(t, before-4096+blobBytes, got.After, "the next look is a walk")
	got, err = s.look(context.Background(), set)
	require.NoError(t, err)
	require.EqualValues(t, before-4096+blobBytes, got.After)
}
