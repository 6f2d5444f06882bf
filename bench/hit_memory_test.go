package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func measureIdle(b *testing.B) []*series {
	return append(idle(b, 4, atMostOf(60)), idle(b, 20, atMostOf(160))...)
}

// probeTimes is how often an idle server is probed, which is some minutes' worth.
const probeTimes = 50

// idle is the memory of the whole when nobody pulls: after the start, and when
// monitoring has asked for a while.
func idle(b *testing.B, upstreams int, g goal) []*series {
	b.Helper()
	u := newUpstream(b, distance{}, newImage(b, small([]byte("layer"))))
	started := newSeries(fmt.Sprintf("memory, idle, %d upstreams", upstreams), "MiB PSS", g)
	probed := newSeries(fmt.Sprintf("memory, idle, %d upstreams, probed and scraped", upstreams), "MiB PSS", g)
	takeTurns(*rounds, hitLaunches(b, u, cacheOptions{upstreams: upstreams}), func(start launch) {
		s := start()
		s.calm(b)
		started.add(s.name, float64(s.memory(b).proportional)/miB)
		if len(s.probes) > 0 {
			s.probe(b)
			probed.add(s.name, float64(s.memory(b).proportional)/miB)
		}
		s.stop()
	})
	return []*series{started, probed}
}

func (s *server) probe(b *testing.B) {
	b.Helper()
	for range probeTimes {
		for _, address := range s.probes {
			response, err := http.Get(address)
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, response.Body)
			require.NoError(b, err)
			require.NoError(b, response.Body.Close())
			require.Equal(b, http.StatusOK, response.StatusCode, address)
		}
	}
	s.calm(b)
}

const (
	slowClients = 1000
	slowBlob    = giB
	// slowSpeed is what one of them reads in a second.
	slowSpeed = 32 * kiB
	// slowTime is how long all of them are there.
	slowTime = 5 * time.Second
)

func measureSlowClients(b *testing.B) []*series {
	return []*series{
		slow(b, "plain HTTP", cacheOptions{}, atMostOf(64)),
		slow(b, "TLS", cacheOptions{pair: newPair(b)}, atMostOf(256)),
	}
}

// slow is what many slow clients add to the memory.
func slow(b *testing.B, over string, o cacheOptions, g goal) *series {
	b.Helper()
	layer := file(b, 7, slowBlob)
	u := newUpstream(b, distance{}, newImage(b, layer))
	more := newSeries(fmt.Sprintf("memory, %d slow clients, %s", slowClients, over), "MiB PSS more", g)
	// What a process has once occupied it may keep, so each round is a new one.
	takeTurns(*rounds, hitLaunches(b, u, o), func(start launch) {
		s := start()
		s.warm(b, u)
		s.calm(b)
		before := s.memory(b).proportional
		peak := s.besieged(b, s.path("blobs", layer.digest))
		more.add(s.name, (float64(peak.proportional)-float64(before))/miB)
		s.stop()
	})
	return more
}

// besieged is the most memory that the server occupies while slow clients read
// from it.
func (s *server) besieged(b *testing.B, path string) memory {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var connecting, reading errgroup.Group
	connecting.SetLimit(manyClients)
	request := s.request(path)
	lines := make([]*line, slowClients)
	for i := range lines {
		connecting.Go(func() error {
			conn, err := s.dial()
			if err == nil {
				lines[i] = newLine(conn)
			}
			return err
		})
	}
	require.NoError(b, connecting.Wait())
	for _, l := range lines {
		reading.Go(func() error { return trickle(ctx, l, request, slowSpeed) })
	}
	time.AfterFunc(slowTime, cancel)
	peak := s.peak(b, ctx.Done())
	require.NoError(b, reading.Wait())
	for _, l := range lines {
		_ = l.conn.Close()
	}
	return peak
}
