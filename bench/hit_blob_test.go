package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// blobSize is that of a large layer; blobClients fetch it at once.
const (
	blobSize    = 256 * miB
	blobClients = 4
)

func measureBlob(b *testing.B) []*series {
	return blobCosts(b, "blob, plain HTTP", cacheOptions{}, atMostTimes(1.2, nginx))
}

func measureBlobTLS(b *testing.B) []*series {
	return blobCosts(b, "blob, TLS", cacheOptions{pair: newPair(b)}, atMostTimes(0.8, nginx))
}

func blobCosts(b *testing.B, what string, o cacheOptions, g goal) []*series {
	b.Helper()
	layer := file(b, 0, blobSize)
	u, servers := hitServers(b, layer, o)
	cost := newSeries(what+", CPU", "s/GiB", g)
	rate := newSeries(what+", rate", "GiB/s", none(nginx))
	downloads := u.downloads()
	costs(b, servers, blobClients,
		func(s *server) string { return s.path("blobs", layer.digest) },
		cost, rate, tally.gib, 1)
	require.Equal(b, downloads, u.downloads(), "the upstream was asked for what is cached")
	return []*series{cost, rate}
}
