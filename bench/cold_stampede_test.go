package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// stampede is how many clients want the same cold blob at once.
const stampede = 50

const alone = "one client"

// measureStampede has them do so, at an upstream that is as fast as those on
// the internet are.
func measureStampede(b *testing.B) []*series {
	layer := file(b, 0, blobSize)
	what := fmt.Sprintf("%d clients, one cold blob of 256 MiB", stampede)
	fetched := newSeries(what+", fetched from the upstream", "times its size", atMostOf(1))
	asked := newSeries(what+", GETs upstream", "requests", none(ancestor))
	took := newSeries(what+", until all have it", "s", none(alone))
	first := newSeries(what+", first byte after the upstream's, median", "ms", none(ancestor))
	last := newSeries(what+", first byte after the upstream's, slowest", "ms", none(ancestor))
	d := distance{latency: internet, perConnection: perConnection}
	u := newUpstream(b, d, newImage(b, layer))
	takeTurns(coldRounds(), coldCaches(b, u), func(start launch) {
		s := start()
		arrivals, err := s.rush(u, layer, stampede)
		require.NoError(b, err)
		s.calm(b)
		upstreamSent := u.forget(layer.digest)
		fetched.add(s.name, float64(upstreamSent.bytes)/float64(layer.size))
		asked.add(s.name, float64(upstreamSent.requests))
		took.add(s.name, arrivals.all.Seconds())
		first.add(s.name, arrivals.first[stampede/2].Sub(upstreamSent.first).Seconds()*1e3)
		last.add(s.name, arrivals.first[stampede-1].Sub(upstreamSent.first).Seconds()*1e3)
		s.stop()
	})
	for range coldRounds() {
		s := startCache(b, u, cacheOptions{})
		arrivals, err := s.rush(u, layer, 1)
		require.NoError(b, err)
		took.add(alone, arrivals.all.Seconds())
		s.stop()
	}
	return []*series{fetched, asked, took, first, last}
}

// arrivals is what clients saw that came at once.
type arrivals struct {
	// first is when each had the first byte, in order.
	first []time.Time
	// all is how long it took until every one had the last.
	all time.Duration
}

// rush has so many clients fetch a blob of the image at once, after the first
// of them looked at the manifest as every client does.
func (s *server) rush(u *upstream, c content, clients int) (arrivals, error) {
	conns := make([]*line, clients)
	for i := range conns {
		conn, err := s.dial()
		if err != nil {
			return arrivals{}, err
		}
		defer func() { _ = conn.Close() }()
		conns[i] = newLine(conn)
	}
	if _, err := conns[0].get(s.request(s.path("manifests", u.image.manifest.digest))); err != nil {
		return arrivals{}, err
	}
	request := s.request(s.path("blobs", c.digest))
	got := arrivals{first: make([]time.Time, clients)}
	var done errgroup.Group
	begin := time.Now()
	for i, l := range conns {
		done.Go(func() error {
			size, err := l.header(request)
			if err != nil {
				return err
			}
			if _, err := l.r.Peek(1); err != nil {
				return err
			}
			got.first[i] = time.Now()
			return l.discard(size)
		})
	}
	err := done.Wait()
	got.all = time.Since(begin)
	slices.SortFunc(got.first, time.Time.Compare)
	return got, err
}
