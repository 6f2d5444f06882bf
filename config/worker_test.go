package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWorkerIsTold(t *testing.T) {
	c := &Config{StoreDir: "/store", Offline: true, Drain: time.Minute, LogLevel: "debug", Proxy: Proxy{HTTP: "http://proxy"}}
	u := Upstream{Name: "quay.io", Path: "quay.io"}
	assert.Equal(t, Worker{
		Upstream: u, StoreDir: "/store", Offline: true, Drain: time.Minute, LogLevel: "debug", Proxy: Proxy{HTTP: "http://proxy"},
	}, c.Worker(u))
}

// A blob that the next clean would take away is not worth keeping.
func TestLargestBlobToKeep(t *testing.T) {
	for name, test := range map[string]struct {
		total, quota int64
		threshold    int
		want         int64
	}{
		"no limit":        {0, 0, 20, 0},
		"the whole":       {1000, 0, 20, 1200},
		"the upstream's":  {1000, 500, 20, 600},
		"a useless quota": {1000, 2000, 0, 1000},
		"the only one":    {0, 500, 10, 550},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Config{Cleaner: Cleaner{MaxSize: test.total, ThresholdPercent: test.threshold}}
			assert.Equal(t, test.want, c.Worker(Upstream{MaxSize: test.quota}).MaxBlob)
		})
	}
}
