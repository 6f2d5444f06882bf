package cleaner

import (
	"math"
	"time"

	"registrycache/config"
	"registrycache/images"
)

// usage is what a look at the store and its disk found.
type usage struct {
	blobs int
	// bytes are the disk space of blobs and fills.
	bytes int64
	disk  images.Disk
	// oldest and newest are the first and the last use of any blob.
	oldest, newest time.Time
}

// goal is what a clean has to reach.
type goal struct {
	// reclaim is how many bytes are to go at least.
	reclaim int64
	// unusedSince is the last use that is too long ago; zero is none.
	unusedSince time.Time
}

func (g goal) nothing() bool { return g.reclaim == 0 && g.unusedSince.IsZero() }

// goalOf says what the settings ask of the store as it is. A MaxSize of 0,
// which config refuses, is no limit rather than an empty store.
func goalOf(s config.Cleaner, u usage, now time.Time) goal {
	var g goal
	if s.MaxSize > 0 && u.bytes > threshold(s) {
		g.reclaim = u.bytes - s.MaxSize
	}
	minFree := max(s.MinFreeBytes, int64(s.MinFreePercent/100*float64(u.disk.Size)))
	if u.disk.Free < minFree {
		g.reclaim = max(g.reclaim, minFree-u.disk.Free)
	}
	if since := now.Add(-s.MaxAge); s.MaxAge > 0 && u.blobs > 0 && u.oldest.Before(since) {
		g.unusedSince = since
	}
	return g
}

// threshold is the size over which a clean starts.
func threshold(s config.Cleaner) int64 {
	t := float64(s.MaxSize) * (1 + float64(s.ThresholdPercent)/100)
	if t >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(t)
}
