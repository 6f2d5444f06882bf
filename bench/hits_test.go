package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hits is what the cache exists for.
var hits = section{
	name: "hits", title: "Hits", beside: []string{nginx, ancestor},
	rows: []row{
		{"Blob", measureBlob},
		{"BlobTLS", measureBlobTLS},
		{"ManifestDigest", measureManifestDigest},
		{"TagFresh", measureTagFresh},
		{"TagChecked", measureTagChecked},
		{"Password", measurePassword},
		{"Latency", measureLatency},
		{"Idle", measureIdle},
		{"SlowClients", measureSlowClients},
		{"Start", measureStart},
	},
}

func BenchmarkHit(b *testing.B) { hits.run(b) }

// loadTime is how long one contestant is under load in one round.
const loadTime = 2 * time.Second

// hitServers starts all three before an upstream with an image of one layer,
// and has them cache it.
func hitServers(b *testing.B, layer content, o cacheOptions) (*upstream, []*server) {
	b.Helper()
	u := newUpstream(b, distance{}, newImage(b, layer))
	var servers []*server
	for _, start := range hitLaunches(b, u, o) {
		s := start()
		s.warm(b, u)
		servers = append(servers, s)
	}
	return u, servers
}

// hitLaunches are nginx and the caches, in this order.
func hitLaunches(b *testing.B, u *upstream, o cacheOptions) []launch {
	return []launch{
		func() *server { return startNginx(b, u.image, o.pair) },
		func() *server { return startCache(b, u, o) },
		func() *server { return startAncestor(b, u, max(1, o.upstreams), o.pair) },
	}
}

// costs has each server under the same load in turn and returns the processor
// time of a unit of work, and how many units of work were done in a second.
func costs(b *testing.B, servers []*server, clients int, path func(*server) string, cost, rate *series, work func(tally) float64, scale float64) {
	b.Helper()
	for _, s := range servers {
		_, err := s.load(clients, loadTime/4, path(s))
		require.NoError(b, err)
	}
	takeTurns(*rounds, servers, func(s *server) {
		var t tally
		used := s.cpuOf(b, func() {
			var err error
			t, err = s.load(clients, loadTime, path(s))
			require.NoError(b, err)
		})
		cost.add(s.name, used.Seconds()*scale/work(t))
		rate.add(s.name, work(t)/t.took.Seconds())
	})
}
