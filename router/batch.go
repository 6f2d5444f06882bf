package router

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// batch is the connection below TLS. crypto/tls writes each record of 16 KiB by
// itself, and a write to a socket costs about as much as to encrypt what it
// carries; a batch can gather records and send them at once.
type batch struct {
	net.Conn

	mu sync.Mutex
	// gathered are the records that wait; nil while none are gathered.
	gathered []byte
	// err is that of the last gather. What it lost makes all after it
	// unreadable, so nothing is sent any more.
	err error
}

// Write sends p, or keeps it for the end of gather.
func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return 0, b.err
	case b.gathered == nil:
		return b.Conn.Write(p)
	}
	b.gathered = append(b.gathered, p...)
	return len(p), nil
}

// gather calls write, and then sends in one piece all that was written
// meanwhile, by whomever: alerts and key updates keep their place. Of what
// write encrypts there are to be some n bytes.
func (b *batch) gather(n int, write func() error) error {
	buffer := recordBuffers.get(sizeOfRecords(n))
	defer recordBuffers.put(buffer)
	b.mu.Lock()
	b.gathered = (*buffer)[:0]
	b.mu.Unlock()

	err := write()

	b.mu.Lock()
	defer b.mu.Unlock()
	*buffer, b.gathered = b.gathered, nil
	if len(*buffer) > 0 && b.err == nil {
		_, b.err = b.Conn.Write(*buffer)
	}
	return errors.Join(err, b.err)
}

type batchKey struct{}

// withBatch lets the answers on a connection find the batch below it.
func withBatch(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		return context.WithValue(ctx, batchKey{}, secure.NetConn())
	}
	return ctx
}

// batchOf returns the batch that withBatch left, or nil.
func batchOf(ctx context.Context) *batch {
	b, _ := ctx.Value(batchKey{}).(*batch)
	return b
}
