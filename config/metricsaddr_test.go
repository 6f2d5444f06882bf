package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/config"
)

func TestMetricsAddr(t *testing.T) {
	for value, want := range map[string]string{"": ":9090", "127.0.0.1:1234": "127.0.0.1:1234"} {
		got, err := config.MetricsAddr([]string{"METRICS_ADDR=" + value, "CLEANER_MAXSIZE=nonsense"})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := config.MetricsAddr(nil)
	require.NoError(t, err)
	require.Equal(t, ":9090", got)
	_, err = config.MetricsAddr([]string{"METRICS_ADDR=9090"})
	require.ErrorContains(t, err, "METRICS_ADDR")
}
