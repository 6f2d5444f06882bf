package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// requestClients is how many clients ask at once where the cost of a request is
// what counts; manyClients, where it is how long they wait.
const (
	requestClients = 8
	manyClients    = 64
)

const (
	micro    = 1e6 // of a second
	perCent  = 100
	freshTag = "1h"
)

func requests(t tally) float64 { return float64(t.requests) }

func measureManifestDigest(b *testing.B) []*series {
	return manifestCosts(b, "manifest by digest", func(s *server, u *upstream) string {
		return s.path("manifests", u.image.manifest.digest)
	})
}

func measureTagFresh(b *testing.B) []*series {
	return manifestCosts(b, "tag within TAG_MAX_AGE", func(s *server, _ *upstream) string {
		return s.path("manifests", tag)
	})
}

func manifestCosts(b *testing.B, what string, path func(*server, *upstream) string) []*series {
	b.Helper()
	u, servers := hitServers(b, small([]byte("layer")), cacheOptions{tagMaxAge: freshTag})
	cost := newSeries(what+", CPU", "us/request", atMostTimes(1.6, nginx))
	rate := newSeries(what+", rate", "requests/s", none(nginx))
	costs(b, servers, requestClients,
		func(s *server) string { return path(s, u) },
		cost, rate, requests, micro)
	return []*series{cost, rate}
}

// measureTagChecked has many clients ask for one tag that must be checked with
// the upstream each time.
func measureTagChecked(b *testing.B) []*series {
	u, servers := hitServers(b, small([]byte("layer")), cacheOptions{})
	servers = servers[1:] // nginx asks nobody
	rate := newSeries("tag checked upstream each time, 64 clients", "requests/s", atLeastTimes(5, ancestor))
	checks := newSeries("upstream checks for it", "per 100 requests", none(ancestor))
	takeTurns(*rounds, servers, func(s *server) {
		before := u.checked()
		t, err := s.load(manyClients, loadTime, s.path("manifests", tag))
		require.NoError(b, err)
		s.calm(b)
		rate.add(s.name, t.perSecond())
		checks.add(s.name, perCent*float64(u.checked()-before)/requests(t))
	})
	return []*series{rate, checks}
}

// measurePassword compares the cache with itself.
func measurePassword(b *testing.B) []*series {
	const without = "without"
	u := newUpstream(b, distance{}, newImage(b, small([]byte("layer"))))
	open := startCache(b, u, cacheOptions{tagMaxAge: freshTag})
	open.name = without
	guarded := startCache(b, u, cacheOptions{tagMaxAge: freshTag, login: "puller:pass:w0rd"})
	servers := []*server{open, guarded}
	for _, s := range servers {
		s.warm(b, u)
	}
	cost := newSeries("manifest by digest, htpasswd, CPU", "us/request", atMostTimes(1.1, without))
	rate := newSeries("manifest by digest, htpasswd, rate", "requests/s", none(without))
	costs(b, servers, requestClients,
		func(s *server) string { return s.path("manifests", u.image.manifest.digest) },
		cost, rate, requests, micro)
	return []*series{cost, rate}
}

func measureLatency(b *testing.B) []*series {
	u, servers := hitServers(b, small([]byte("layer")), cacheOptions{tagMaxAge: freshTag})
	p50 := newSeries("manifest by digest, 64 clients, p50", "ms", none(nginx))
	p99 := newSeries("manifest by digest, 64 clients, p99", "ms", atMostTimes(3, nginx))
	path := func(s *server) string { return s.path("manifests", u.image.manifest.digest) }
	takeTurns(*rounds, servers, func(s *server) {
		s.calm(b)
		t, err := s.load(manyClients, loadTime, path(s))
		require.NoError(b, err)
		p50.add(s.name, t.percentile(50).Seconds()*1e3)
		p99.add(s.name, t.percentile(99).Seconds()*1e3)
	})
	return []*series{p50, p99}
}
