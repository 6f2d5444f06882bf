package pagetest

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"registrycache/status"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Example is the state of a busy cache at a time, with something of each kind.
// The same time gives the same state.
func Example(now time.Time) status.Document {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return status.Document{
		Time: now, Version: "v1.4.0", Since: ago(12*24*time.Hour + 5*time.Hour),
		State:     "degraded",
		Reasons:   []string{"docker.io limits the rate of requests; known tags are served without asking it."},
		Upstreams: upstreams(ago),
		Processes: []status.Process{
			{Name: "supervisor", State: "ready", PID: 1, Since: ago(293 * time.Hour), Memory: 19 * mib},
			{Name: "router", State: "ready", PID: 22, Since: ago(293 * time.Hour), Memory: 41 * mib},
			{Name: "worker docker.io", State: "ready", PID: 23, Since: ago(293 * time.Hour), Memory: 33 * mib},
			{Name: "worker ghcr.io", State: "ready", PID: 24, Since: ago(293 * time.Hour), Memory: 24 * mib},
			{Name: "worker quay.io", State: "ready", PID: 25, Since: ago(293 * time.Hour), Memory: 38 * mib},
			{Name: "worker registry.k8s.io", State: "ready", PID: 26, Restarts: 2, Since: ago(31 * time.Hour), Memory: 22 * mib},
			{Name: "worker registry.corp.example_5000", State: "restarting", Restarts: 4},
			{Name: "logger", State: "ready", PID: 28, Since: ago(293 * time.Hour), Memory: 18 * mib},
			{Name: "cleaner", State: "ready", PID: 29, Since: ago(293 * time.Hour), Memory: 21 * mib},
		},
		Traffic: traffic(now),
		Store: &status.Store{
			Used: 212*gib + 300*mib, Time: ago(20 * time.Second), Limit: 240 * gib, Start: 288 * gib,
			DiskFree: 171 * gib, DiskSize: 492 * gib, MinFree: 25 * gib,
			Quotas: []status.Quota{{Path: "docker.io", Used: 61 * gib, Limit: 80 * gib}, {Path: "ghcr.io", Used: 20*gib + 700*mib, Limit: 20 * gib}},
			Next:   now.Add(17 * time.Minute),
			Last: &status.Clean{Time: ago(43 * time.Hour), Took: status.Seconds(2300 * time.Millisecond),
				Before: 288*gib + 90*mib, After: 239*gib + 900*mib, Images: 184, Blobs: 1412},
		},
		Hosted: &status.Hosted{Prefix: "local", Repositories: 14, Tags: 83, Used: 9*gib + 200*mib},
		Fills: []status.Fill{
			{Upstream: "quay.io", Repository: "quay.io/fedora/fedora-coreos", Digest: "sha256:5f2c8e0a7be1d94c7b0a3c6e41f7e2d95a1b8c3d4e5f60718293a4b5c6d7e8f9",
				Size: 1340 * mib, Have: 912 * mib, Rate: 84 * mib, Readers: 12, Connections: 4, Since: ago(11 * time.Second)},
			{Upstream: "ghcr.io", Repository: "ghcr.io/home-assistant/home-assistant", Digest: "sha256:b81d3a9944ce02f7715ad0c9e6b23f41885dd6c7a0f1e2b3c4d5e6f708192a3b",
				Size: 486 * mib, Have: 61 * mib, Rate: 9*mib + 400_000, Readers: 1, Connections: 4, Since: ago(6 * time.Second)},
			{Upstream: "docker.io", Repository: "docker.io/library/postgres", Digest: "sha256:0c7e55b2d6a1f8390ab4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80912",
				Size: -1, Have: 3 * mib, Rate: 2 * mib, Readers: 2, Connections: 1, Since: ago(2 * time.Second)},
		},
		Problems: []status.Problem{
			{Time: ago(4 * time.Minute), Level: "error", Process: "worker registry.corp.example_5000", Text: "the process ended", Error: "exit status 1; it is started again in 6.4s", Count: 4},
			{Time: ago(9 * time.Minute), Level: "warn", Process: "worker docker.io", Text: "the tag could not be checked; the known one is served",
				Error: "GET https://registry-1.docker.io/v2/library/postgres/manifests/17: 429 Too Many Requests, again in 41 min", Count: 1},
			{Time: ago(43 * time.Hour), Level: "warn", Process: "cleaner", Text: "ghcr.io is over its quota by 700 MiB; its images are all in use", Count: 1},
		},
	}
}

func upstreams(ago func(time.Duration) time.Time) []status.Upstream {
	return []status.Upstream{
		{Name: "docker.io", Path: "docker.io", Aliases: []string{"dh"}, State: status.Failing, Circuit: status.CircuitOpen,
			Credentials: status.Accepted, Answered: ago(9 * time.Minute), Process: "ready",
			Failure:   &status.Failure{Time: ago(9 * time.Minute), Text: "429 Too Many Requests: you have reached your pull rate limit"},
			RateLimit: &status.RateLimit{Limit: 200, Remaining: 0, Window: status.Seconds(6 * time.Hour), Time: ago(9 * time.Minute)}},
		{Name: "ghcr.io", Path: "ghcr.io", State: status.Answering, Circuit: status.CircuitClosed,
			Credentials: status.PartRefused, Answered: ago(0), Process: "ready",
			Failure: &status.Failure{Time: ago(26 * time.Hour), Text: "403 Forbidden for ghcr.io/corp/legacy: denied"}},
		{Name: "quay.io", Path: "quay.io", Aliases: []string{"q"}, State: status.Answering, Circuit: status.CircuitClosed,
			Credentials: status.Accepted, Answered: ago(0), Process: "ready"},
		{Name: "registry.k8s.io", Path: "registry.k8s.io", State: status.Answering, Circuit: status.CircuitClosed,
			Credentials: status.Anonymous, Answered: ago(48 * time.Minute), Process: "ready"},
		{Name: "registry.corp.example:5000", Path: "registry.corp.example_5000", State: status.Untried,
			Circuit: status.CircuitClosed, Credentials: status.Unused, Process: "restarting"},
		{Name: "mcr.microsoft.com", Path: "mcr.microsoft.com", State: status.Untried, Circuit: status.CircuitClosed,
			Credentials: status.Anonymous, Process: "ready"},
		{Name: "public.ecr.aws", Path: "public.ecr.aws", Aliases: []string{"ecr"}, State: status.Untried,
			Circuit: status.CircuitClosed, Credentials: status.Anonymous, Process: "ready"},
	}
}

// hoursShown is how many hours the logger tells.
const hoursShown = 7 * 24

func traffic(now time.Time) *status.Traffic {
	random := rand.New(rand.NewPCG(1, 2))
	t := &status.Traffic{Since: now.Add(-100 * 24 * time.Hour)}
	first := now.Truncate(time.Hour).Add(-(hoursShown - 1) * time.Hour)
	var week, today status.Tally
	for i := range hoursShown {
		h := status.Hour{Begin: first.Add(time.Duration(i) * time.Hour)}
		h.Tally = busy(h.Begin, random)
		t.Hours = append(t.Hours, h)
		week.Add(h.Tally)
		if h.Begin.YearDay() == now.YearDay() {
			today.Add(h.Tally)
		}
	}
	for _, u := range []struct {
		path string
		part float64
	}{{"docker.io", .38}, {"ghcr.io", .09}, {"quay.io", .46}, {"registry.k8s.io", .07}} {
		t.Upstreams = append(t.Upstreams, status.UpstreamTraffic{
			Path: u.path, Today: scaled(today, u.part), Week: scaled(week, u.part), Total: scaled(week, u.part*13.2),
		})
	}
	t.Busiest, t.Newest = images(now)
	return t
}

// busy is an hour's traffic: more by day, less at the weekend.
func busy(begin time.Time, random *rand.Rand) status.Tally {
	load := 0.25 + math.Max(0, math.Sin(float64(begin.Hour()-5)/16*math.Pi))
	if day := begin.Weekday(); day == time.Saturday || day == time.Sunday {
		load *= 0.35
	}
	load *= 0.55 + 0.9*random.Float64()
	ratio := 0.9 + 0.09*random.Float64()
	if begin.Hour() == 9 {
		ratio = 0.72 // the nightly builds are new
	}
	sent := load * 5.2 * gib
	return status.Tally{
		Requests: int64(load * 1900), Hits: int64(load * 1900 * ratio), Failed: int64(load * random.Float64() * 1.2),
		Sent: int64(sent), Saved: int64(sent * (ratio - 0.02)),
	}
}

func scaled(t status.Tally, by float64) status.Tally {
	part := func(n int64) int64 { return int64(float64(n) * by) }
	return status.Tally{Requests: part(t.Requests), Hits: part(t.Hits), Failed: part(t.Failed), Sent: part(t.Sent), Saved: part(t.Saved)}
}

func images(now time.Time) (busiest, newest []status.Image) {
	ago := func(h float64) time.Time { return now.Add(-time.Duration(h * float64(time.Hour))) }
	all := []status.Image{
		{Name: "quay.io/prometheus/node-exporter:v1.9.1", Pulls: 4218, First: ago(1310), Last: ago(0.01)},
		{Name: "docker.io/library/postgres:17", Pulls: 2904, First: ago(800), Last: ago(0.05)},
		{Name: "registry.k8s.io/pause:3.10", Pulls: 2377, First: ago(2000), Last: ago(0.02)},
		{Name: "quay.io/fedora/fedora-coreos:stable", Pulls: 812, First: ago(340), Last: ago(0.001)},
		{Name: "docker.io/library/alpine:3.22", Pulls: 640, First: ago(410), Last: ago(0.3)},
		{Name: "ghcr.io/home-assistant/home-assistant:2026.11", Pulls: 96, First: ago(0.4), Last: ago(0.002)},
		{Name: "docker.io/grafana/grafana:12.3.0", Pulls: 51, First: ago(7), Last: ago(1.2)},
		{Name: "quay.io/openshift/origin-cli@sha256:9d1cf1f5e8b0a3d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a29180f1e2d3c4b5a697", Pulls: 12, First: ago(11), Last: ago(2)},
	}
	newest = slices.Clone(all)
	slices.SortFunc(newest, func(a, b status.Image) int { return b.First.Compare(a.First) })
	return all, newest[:6]
}
