package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const coldLayers = 3

func coldImage(b *testing.B) image {
	b.Helper()
	layers := make([]content, coldLayers)
	for i := range layers {
		layers[i] = file(b, uint64(i), blobSize)
	}
	return newImage(b, layers...)
}

func measurePullCapped(b *testing.B) []*series {
	d := distance{latency: internet, perConnection: perConnection}
	took, _ := coldPulls(b, "pull, 20 MB/s a connection, 50 ms", d, atMostTimes(0.5, direct))
	return []*series{took}
}

func measurePullLink(b *testing.B) []*series {
	d := distance{latency: internet, link: gigabit}
	took, _ := coldPulls(b, "pull, no cap but a link of 1 Gbit/s, 50 ms", d, atMostTimes(1.05, direct))
	return []*series{took}
}

func measurePullUncapped(b *testing.B) []*series {
	took, cpu := coldPulls(b, "pull, no cap but this machine, 50 ms", distance{latency: internet}, atMostTimes(1.05, direct))
	return []*series{took, cpu}
}

// coldPulls is the time that one client's pull of 3 x 256 MiB takes, and what
// it costs the caches. Each starts with an empty store.
func coldPulls(b *testing.B, what string, d distance, g goal) (took, cpu *series) {
	b.Helper()
	u := newUpstream(b, d, coldImage(b))
	took = newSeries(what, "s", g)
	cpu = newSeries("filling and serving, CPU", "s/GiB", none(ancestor))
	gib := float64(coldLayers*blobSize) / giB
	takeTurns(coldRounds(), append(coldCaches(b, u), u.direct), func(start launch) {
		s := start()
		pull := func() {
			t, err := s.pull(u.image)
			require.NoError(b, err)
			took.add(s.name, t.Seconds())
		}
		if s.name == direct {
			pull()
			return
		}
		cpu.add(s.name, s.cpuOf(b, pull).Seconds()/gib)
		s.stop()
	})
	return took, cpu
}

// coldCaches start the caches before the upstream.
func coldCaches(b *testing.B, u *upstream) []launch {
	return []launch{
		func() *server { return startCache(b, u, cacheOptions{}) },
		func() *server { return startAncestor(b, u, 1, nil) },
	}
}
