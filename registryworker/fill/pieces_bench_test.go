package fill

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// pieces is an upstream whose connections bring so many bytes in a read: 16 KiB
// is a record of TLS.
type pieces struct {
	zeros
	length int
}

func (p pieces) OpenBlob(ctx context.Context, offset, end int64) (*upstream.Blob, error) {
	b, err := p.zeros.OpenBlob(ctx, offset, end)
	if err == nil {
		b.Body = io.NopCloser(pieceReader{b.Body, p.length})
	}
	return b, err
}

type pieceReader struct {
	io.Reader
	length int
}

func (r pieceReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.length)]) }

// BenchmarkPieces is what the fill itself costs, beside hashing.
func BenchmarkPieces(b *testing.B) {
	const size = 256 << 20
	d, err := digest.FromReader(io.LimitReader(zeroReader{}, size))
	require.NoError(b, err)
	for _, length := range []int{4 << 10, 16 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", length>>10), func(b *testing.B) {
			e := openBench(b, b.TempDir(), Options{})
			b.SetBytes(size)
			before := cpu()
			for b.Loop() {
				r, err := e.Open(b.Context(), repo, d, pieces{size, length})
				require.NoError(b, err)
				for n := int64(0); n < size; {
					granted, err := r.Grant(size)
					require.NoError(b, err)
					n += granted
				}
				_ = r.Close()
				e.wait()
				require.NoError(b, os.Remove(e.store.BlobPath(d)))
			}
			reportCPU(b, int64(b.N)*size, cpu()-before)
			require.NoError(b, e.Close(context.Background()))
		})
	}
}
