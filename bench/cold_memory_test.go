package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

const (
	// fillReaders follow the fill of the largest blob. fastReaders of them take
	// what comes, the others slowRead bytes a second.
	fillReaders = 50
	fastReaders = 2
	slowRead    = 4 * miB
)

// measureFillMemory is the memory while a very large blob is filled.
func measureFillMemory(b *testing.B) []*series {
	layer := repeated(b, giant)
	u := newUpstream(b, distance{latency: internet}, newImage(b, layer))
	what := fmt.Sprintf("filling %s for %d readers", humanize.IBytes(uint64(giant)), fillReaders)
	largest := newSeries(what+", largest process", "MiB RSS", atMostOf(100))
	all := newSeries(what+", all processes", "MiB PSS", none(""))
	anonymous := newSeries(what+", all processes", "MiB anonymous", none(""))
	s := startCache(b, u, cacheOptions{})
	peak := s.peakOfFill(b, layer)
	require.Equal(b, 1, int((u.fetched(layer.digest).bytes+layer.size/2)/layer.size), "times that it was fetched")
	largest.add(s.name, float64(peak.largest)/miB)
	all.add(s.name, float64(peak.proportional)/miB)
	anonymous.add(s.name, float64(peak.anonymous)/miB)
	s.stop()
	return []*series{largest, all, anonymous}
}

// peakOfFill is the most memory that the cache occupies until its fast readers
// have the whole blob.
func (s *server) peakOfFill(b *testing.B, c content) memory {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var fast, slow errgroup.Group
	request := s.request(s.path("blobs", c.digest))
	for i := range fillReaders {
		conn, err := s.dial()
		require.NoError(b, err)
		defer func() { _ = conn.Close() }()
		l := newLine(conn)
		if i < fastReaders {
			fast.Go(func() error {
				_, err := l.get(request)
				return err
			})
			continue
		}
		slow.Go(func() error { return trickle(ctx, l, request, slowRead) })
	}
	done := make(chan struct{})
	var fastErr error
	go func() {
		defer close(done)
		fastErr = fast.Wait()
	}()
	peak := s.peak(b, done)
	require.NoError(b, fastErr)
	cancel()
	require.NoError(b, slow.Wait())
	return peak
}

// trickle reads so many bytes a second of a body until the context ends.
func trickle(ctx context.Context, l *line, request []byte, perSecond int) error {
	if _, err := l.header(request); err != nil {
		return err
	}
	const every = 250 * time.Millisecond
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := l.discard(int64(perSecond) * int64(every) / int64(time.Second)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
