package fill

import (
	_ "crypto/sha256" // digests are verified with it
	_ "crypto/sha512" // digests are verified with it
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// ErrWrongDigest means that the bytes of a blob are not what its digest says.
var ErrWrongDigest = errors.New("wrong digest")

// prefixHash is the hash over the first bytes of a blob.
type prefixHash struct {
	hash hash.Hash
	want digest.Digest
	pos  int64 // how many bytes are hashed
}

func newPrefixHash(want digest.Digest) *prefixHash {
	return &prefixHash{hash: want.Algorithm().Hash(), want: want}
}

func (p *prefixHash) write(b []byte) {
	_, _ = p.hash.Write(b) // never fails
	p.pos += int64(len(b))
}

// read hashes the bytes of the file up to to.
func (p *prefixHash) read(f io.ReaderAt, to int64) error {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for p.pos < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-p.pos)], p.pos)
		p.write(buf[:n])
		if n == 0 && err != nil {
			return err
		}
	}
	return nil
}

// check returns ErrWrongDigest unless the bytes are the blob.
func (p *prefixHash) check() error {
	if got := digest.NewDigest(p.want.Algorithm(), p.hash); got != p.want {
		return fmt.Errorf("%w: the upstream sent bytes of %s for %s", ErrWrongDigest, got, p.want)
	}
	return nil
}

// clone returns a hash that goes on from here by itself.
func (p *prefixHash) clone() (*prefixHash, error) {
	c, ok := p.hash.(hash.Cloner)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	h, err := c.Clone()
	return &prefixHash{hash: h, want: p.want, pos: p.pos}, err
}

// verify hashes the file in order, close behind the streams: it reads back what
// they have written, from the page cache. Hashing in the streams would spare
// that copy, but hash and network would wait for each other.
func (t *transfer) verify() {
	h := newPrefixHash(t.fill.digest)
	for over := false; !over; {
		select {
		case <-t.hashable:
		case <-t.settled:
			over = true // the rest is for readers that go on by themselves
		}
		to, size := t.prefix()
		if err := h.read(t.file, to); err != nil {
			t.settle(&storeError{err})
			return
		}
		if to == size {
			t.settle(h.check())
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hash = h
}

// prefix returns how many bytes from the first on are there.
func (t *transfer) prefix() (have, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.have.until(0), t.size
}

// wakeVerifier is called when more was written; for less than a buffer's worth
// it is not worth it.
func (t *transfer) wakeVerifier() {
	to := t.have.until(0)
	if to != t.size && to-t.hashing < int64(len(buffer{})) {
		return
	}
	t.hashing = to
	select {
	case t.hashable <- struct{}{}:
	default:
	}
}

// hashBefore returns a hash of some of the bytes before off, to go on with; nil
// when there is none. It waits for the end of a transfer that is settled.
func (t *transfer) hashBefore(off int64) *prefixHash {
	if t.fill == nil {
		return nil // it was stored before
	}
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hash == nil || t.hash.pos > off {
		return nil
	}
	h, err := t.hash.clone()
	if err != nil {
		return nil
	}
	return h
}
