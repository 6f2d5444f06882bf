package cleaner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

func TestGoal(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	disk := images.Disk{Size: 1000, Free: 100}
	for name, c := range map[string]struct {
		set  config.Cleaner
		use  usage
		want goal
	}{
		"at the threshold":        {config.Cleaner{MaxSize: 100, ThresholdPercent: 20}, usage{bytes: 120}, goal{}},
		"over the threshold":      {config.Cleaner{MaxSize: 100, ThresholdPercent: 20}, usage{bytes: 121}, goal{reclaim: 21}},
		"no threshold":            {config.Cleaner{MaxSize: 100}, usage{bytes: 101}, goal{reclaim: 1}},
		"no limit":                {config.Cleaner{}, usage{bytes: 1 << 50}, goal{}},
		"threshold past all":      {config.Cleaner{MaxSize: 1 << 62, ThresholdPercent: 1000}, usage{bytes: 1 << 60}, goal{}},
		"enough free":             {config.Cleaner{MinFreeBytes: 100}, usage{disk: disk}, goal{}},
		"too little free":         {config.Cleaner{MinFreeBytes: 130}, usage{disk: disk}, goal{reclaim: 30}},
		"too little free, in %":   {config.Cleaner{MinFreePercent: 12.5}, usage{disk: disk}, goal{reclaim: 25}},
		"both, more to free":      {config.Cleaner{MaxSize: 100, MinFreeBytes: 150}, usage{bytes: 110, disk: disk}, goal{reclaim: 50}},
		"both, more over":         {config.Cleaner{MaxSize: 100, MinFreeBytes: 101}, usage{bytes: 110, disk: disk}, goal{reclaim: 10}},
		"something is too old":    {config.Cleaner{MaxAge: time.Hour}, usage{blobs: 1, oldest: now.Add(-61 * time.Minute)}, goal{unusedSince: now.Add(-time.Hour)}},
		"nothing is too old":      {config.Cleaner{MaxAge: time.Hour}, usage{blobs: 1, oldest: now.Add(-59 * time.Minute)}, goal{}},
		"an empty store is never": {config.Cleaner{MaxAge: time.Hour}, usage{}, goal{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := goalOf(c.set, c.use, now)
			require.Equal(t, c.want, got)
			require.Equal(t, c.want == goal{}, got.nothing())
		})
	}
}
