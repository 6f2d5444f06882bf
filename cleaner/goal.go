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
	// oldest and newest are the first and the last use of any blob; zero when
	// there is none.
	oldest, newest time.Time
	// upstreams are the bytes that only the upstream of the quota has, in the
	// order of the quotas.
	upstreams []int64
}

// goal is what a clean has to reach.
type goal struct {
	// reclaim is how many bytes are to go at least, and why.
	reclaim int64
	why     Why
	// unusedSince is the last use that is too long ago; zero is none.
	unusedSince time.Time
	// quotas are the bytes that are to go of each upstream with a quota.
	quotas []int64
}

func (g goal) nothing() bool {
	for _, reclaim := range g.quotas {
		if reclaim > 0 {
			return false
		}
	}
	return g.reclaim == 0 && g.unusedSince.IsZero()
}

// goalOf says what the settings ask of the store as it is. A MaxSize of 0,
// which config refuses, is no limit rather than an empty store.
func goalOf(s config.Cleaner, u usage, now time.Time) goal {
	var g goal
	if s.MaxSize > 0 && u.bytes > Threshold(s.MaxSize, s.ThresholdPercent) {
		g.reclaim, g.why = u.bytes-s.MaxSize, OverLimit
	}
	if short := minFree(s, u.disk.Size) - u.disk.Free; short > g.reclaim {
		g.reclaim, g.why = short, DiskShort
	}
	if since := now.Add(-s.MaxAge); s.MaxAge > 0 && !u.oldest.IsZero() && u.oldest.Before(since) {
		g.unusedSince = since
	}
	for i, bytes := range u.upstreams {
		reclaim := int64(0)
		if limit := s.Quotas[i].MaxSize; bytes > Threshold(limit, s.ThresholdPercent) {
			reclaim = bytes - limit
		}
		g.quotas = append(g.quotas, reclaim)
	}
	return g
}

// minFree is how many bytes a disk of that size is to have free.
func minFree(s config.Cleaner, size int64) int64 {
	return max(s.MinFreeBytes, int64(s.MinFreePercent/100*float64(size)))
}

// Threshold is the size over which a clean starts.
func Threshold(limit int64, percent int) int64 {
	t := float64(limit) * (1 + float64(percent)/100)
	if t >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(t)
}
