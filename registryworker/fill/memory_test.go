package fill

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// zeros is a blob of so many zero bytes, which take no memory.
type zeros int64

func (z zeros) OpenBlob(_ context.Context, offset, end int64) (*upstream.Blob, error) {
	b := &upstream.Blob{Offset: offset, Size: int64(z), Ranged: offset > 0 || end >= 0}
	if end < 0 {
		end = int64(z)
	}
	b.Body = io.NopCloser(io.LimitReader(zeroReader{}, min(end, int64(z))-offset))
	return b, nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// What is allocated for a fill, freed or not, is a small part of what passes.
func TestMemoryDependsOnNeitherSizeNorReaders(t *testing.T) {
	const size, readers = 64 << 20, 20
	d, err := digest.FromReader(io.LimitReader(zeroReader{}, size))
	require.NoError(t, err)
	b := newBench(t, Options{ParallelFrom: 8 << 20, SegmentSize: 1 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var clients sync.WaitGroup
	for range readers {
		clients.Go(func() {
			r, err := b.Open(t.Context(), repo, d, zeros(size))
			if !assert.NoError(t, err) {
				return
			}
			n, err := io.Copy(io.Discard, r)
			assert.NoError(t, err)
			assert.EqualValues(t, size, n)
			assert.NoError(t, r.Close())
		})
	}
	clients.Wait()
	b.wait()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
}
