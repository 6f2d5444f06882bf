package cleaner

import (
	"slices"
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
		"over the threshold":      {config.Cleaner{MaxSize: 100, ThresholdPercent: 20}, usage{bytes: 121}, goal{reclaim: 21, why: OverLimit}},
		"no threshold":            {config.Cleaner{MaxSize: 100}, usage{bytes: 101}, goal{reclaim: 1, why: OverLimit}},
		"no limit":                {config.Cleaner{}, usage{bytes: 1 << 50}, goal{}},
		"threshold past all":      {config.Cleaner{MaxSize: 1 << 62, ThresholdPercent: 1000}, usage{bytes: 1 << 60}, goal{}},
		"enough free":             {config.Cleaner{MinFreeBytes: 100}, usage{disk: disk}, goal{}},
		"too little free":         {config.Cleaner{MinFreeBytes: 130}, usage{disk: disk}, goal{reclaim: 30, why: DiskShort}},
		"too little free, in %":   {config.Cleaner{MinFreePercent: 12.5}, usage{disk: disk}, goal{reclaim: 25, why: DiskShort}},
		"both, more to free":      {config.Cleaner{MaxSize: 100, MinFreeBytes: 150}, usage{bytes: 110, disk: disk}, goal{reclaim: 50, why: DiskShort}},
		"both, more over":         {config.Cleaner{MaxSize: 100, MinFreeBytes: 101}, usage{bytes: 110, disk: disk}, goal{reclaim: 10, why: OverLimit}},
		"something is too old":    {config.Cleaner{MaxAge: time.Hour}, usage{blobs: 1, oldest: now.Add(-61 * time.Minute)}, goal{unusedSince: now.Add(-time.Hour)}},
		"nothing is too old":      {config.Cleaner{MaxAge: time.Hour}, usage{blobs: 1, oldest: now.Add(-59 * time.Minute)}, goal{}},
		"an empty store is never": {config.Cleaner{MaxAge: time.Hour}, usage{}, goal{}},
		"a quota": {config.Cleaner{ThresholdPercent: 20, Quotas: []config.Quota{{MaxSize: 100}, {MaxSize: 100}}},
			usage{upstreams: []int64{120, 121}}, goal{quotas: []int64{0, 21}}},
		"quotas kept": {config.Cleaner{Quotas: []config.Quota{{MaxSize: 100}}}, usage{upstreams: []int64{100}}, goal{quotas: []int64{0}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := goalOf(c.set, c.use, now)
			require.Equal(t, c.want, got)
			something := c.want.reclaim > 0 || !c.want.unusedSince.IsZero() || slices.Max(append(c.want.quotas, 0)) > 0
			require.Equal(t, !something, got.nothing())
		})
	}
}
