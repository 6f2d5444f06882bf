package router

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// tlsRecord is the most content that a TLS record has (RFC 8446 section
	// 5.1), and tlsOverhead no less than what its header and its
	// authentication take.
	tlsRecord   = 16 << 10
	tlsOverhead = 64
	// maxPiece is the content of the largest piece. More saves next to nothing,
	// and both it and its records should fit the processor's cache.
	maxPiece = 15 * tlsRecord
	// pieceBudget bounds the memory of all pieces that wait for slow clients:
	// the more transfers, the smaller their pieces, down to a record.
	pieceBudget = 32 << 20
)

// sendPieces sends src through dst, which encrypts it, and b in pieces of
// several TLS records. A transfer that waits for its client holds the encrypted
// piece and nothing else.
func sendPieces(dst io.Writer, src io.Reader, b *batch) (sent int64, err error) {
	defer transfers.Add(-1)
	transfers.Add(1)
	for {
		size := pieceSize(transfers.Load())
		var n int64
		var readErr error
		err := b.gather(size, func() (err error) {
			n, readErr, err = copyPiece(dst, src, size)
			return err
		})
		if err != nil {
			return sent, err
		}
		sent += n
		switch {
		case errors.Is(readErr, io.EOF):
			return sent, nil
		case readErr != nil:
			return sent, readErr
		}
	}
}

// copyPiece copies size bytes, or less if an error is returned of which readErr
// is that of src.
func copyPiece(dst io.Writer, src io.Reader, size int) (n int64, readErr, err error) {
	content := contents.Get().(*[maxPiece]byte)
	defer contents.Put(content)
	k, readErr := io.ReadFull(src, content[:size])
	if errors.Is(readErr, io.ErrUnexpectedEOF) {
		readErr = io.EOF
	}
	k, err = dst.Write(content[:k])
	return int64(k), readErr, err
}

// transfers is how many transfers in pieces this process has under way.
var transfers atomic.Int64

// pieceSize is how much one of so many transfers may hold at a time.
func pieceSize(transfers int64) int {
	size := pieceBudget / max(transfers, 1) / tlsRecord * tlsRecord
	return int(min(max(size, tlsRecord), maxPiece))
}

// sizeOfRecords is how many bytes the records for n bytes of content take at
// most, with some to spare for a header that is written apart.
func sizeOfRecords(n int) int { return n + (n/tlsRecord+2)*tlsOverhead }

var contents = sync.Pool{New: func() any { return new([maxPiece]byte) }}

// recordBuffers are kept by their size in TLS records, rounded up.
var recordBuffers bufferPools

type bufferPools [maxPiece/tlsRecord + 2]sync.Pool

// get returns a buffer with room for size bytes, or for the most that is kept.
func (p *bufferPools) get(size int) *[]byte {
	class := min((size+tlsRecord-1)/tlsRecord, len(p)-1)
	if buffer, ok := p[class].Get().(*[]byte); ok {
		return buffer
	}
	buffer := make([]byte, class*tlsRecord)
	return &buffer
}

// put takes a buffer back, whatever has become of its length and capacity.
func (p *bufferPools) put(buffer *[]byte) {
	if class := cap(*buffer) / tlsRecord; 0 < class && class < len(p) {
		p[class].Put(buffer)
	}
}
