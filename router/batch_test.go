package router

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// socket is a connection that keeps what is written to it, write by write.
type socket struct {
	net.Conn
	writes [][]byte
	err    error
}

func (s *socket) Write(p []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), s.err
}

func TestBatchSendsAtOnceWhatIsGathered(t *testing.T) {
	s := &socket{}
	b := &batch{Conn: s}
	write := func(p string) {
		n, err := b.Write([]byte(p))
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
	write("before")
	require.NoError(t, b.gather(10, func() error {
		write("one")
		alert := make(chan struct{})
		go func() { // as a reader does that answers a key update
			defer close(alert)
			write("alert")
		}()
		<-alert
		write("two")
		return nil
	}))
	write("after")
	require.NoError(t, b.gather(10, func() error { return nil }))
	assert.Equal(t, []string{"before", "onealerttwo", "after"}, stringsOf(s.writes))
}

func stringsOf(all [][]byte) (s []string) {
	for _, p := range all {
		s = append(s, string(p))
	}
	return s
}

func TestBatchSendsNothingAfterALoss(t *testing.T) {
	broken, other := errors.New("broken pipe"), errors.New("other")
	s := &socket{err: broken}
	b := &batch{Conn: s}
	put := func() error { _, err := b.Write([]byte("x")); return err }
	require.ErrorIs(t, b.gather(10, put), broken)
	s.err = nil
	require.ErrorIs(t, put(), broken)
	require.ErrorIs(t, b.gather(10, put), broken)
	assert.Len(t, s.writes, 1)

	s = &socket{}
	b = &batch{Conn: s}
	require.ErrorIs(t, b.gather(10, func() error { return errors.Join(put(), other) }), other)
	assert.Equal(t, []string{"x"}, stringsOf(s.writes), "what was encrypted counts, whatever came after")
}

// pieces are sent through a buffer of records that is as large as them.
func TestPiecesAreSentWhole(t *testing.T) {
	for _, size := range []int{0, 1, maxPiece - 1, maxPiece, maxPiece + 1, 3*maxPiece + tlsRecord/2} {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		s := &socket{}
		b := &batch{Conn: s}
		n, err := sendPieces(b, iotest.HalfReader(bytes.NewReader(content)), b)
		require.NoError(t, err)
		assert.EqualValues(t, size, n)
		assert.True(t, bytes.Equal(content, bytes.Join(s.writes, nil)))
		assert.Len(t, s.writes, (size+maxPiece-1)/maxPiece)
	}
	assert.Zero(t, transfers.Load())
}

func TestPiecesSayWhatWasSent(t *testing.T) {
	disk, pipe := errors.New("disk"), errors.New("pipe")
	s := &socket{}
	b := &batch{Conn: s}
	n, err := sendPieces(b, io.MultiReader(bytes.NewReader(make([]byte, maxPiece+5)), iotest.ErrReader(disk)), b)
	require.ErrorIs(t, err, disk)
	assert.EqualValues(t, maxPiece+5, n)

	s.err = pipe
	n, err = sendPieces(b, bytes.NewReader(make([]byte, 5)), b)
	require.ErrorIs(t, err, pipe)
	assert.Zero(t, n)
}

func TestPiecesShrinkAsTransfersGrow(t *testing.T) {
	assert.Equal(t, maxPiece, pieceSize(1))
	assert.Equal(t, maxPiece, pieceSize(pieceBudget/maxPiece))
	assert.Equal(t, tlsRecord, pieceSize(1<<20))
	for n := int64(1); n < 1<<13; n++ {
		size := pieceSize(n)
		assert.LessOrEqual(t, n*int64(size), max(pieceBudget, n*tlsRecord))
		assert.Zero(t, size%tlsRecord)
		if n > 1 {
			assert.LessOrEqual(t, size, pieceSize(n-1))
		}
	}
}

func TestRecordBuffersAreLargeEnough(t *testing.T) {
	for size := tlsRecord; size <= maxPiece; size += tlsRecord {
		buffer := recordBuffers.get(sizeOfRecords(size))
		assert.GreaterOrEqual(t, cap(*buffer), sizeOfRecords(size))
		assert.Less(t, cap(*buffer), size+2*tlsRecord)
		recordBuffers.put(buffer)
	}
	none := []byte(nil)
	recordBuffers.put(&none)
	assert.NotEmpty(t, *recordBuffers.get(1))
}

// A blob of several pieces, and a range of it, are the same over TLS, and take
// a write for each piece.
func TestBlobOverTLSInPieces(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = pair(t, "cache")
	content := make([]byte, 5*maxPiece+100)
	_, _ = rand.Read(content)
	d := c.blob(string(content))
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Accel-Redirect", d.String()) })
	c.start()
	client := c.trusting(c.settings.TLS)
	for fields, want := range map[string][]byte{"": content, "bytes=7-": content[7:], "bytes=-300000": content[len(content)-300000:]} {
		r, err := http.NewRequest(http.MethodGet, "https://"+c.address()+"/v2/quay.io/a/blobs/"+d.String(), nil)
		require.NoError(t, err)
		if fields != "" {
			r.Header.Set("Range", fields)
		}
		response, err := client.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.True(t, bytes.Equal(want, body), fields)
	}
	for _, record := range c.records(3) {
		assert.Positive(t, record.Bytes)
	}
}

// Whoever leaves midway costs nobody anything.
func TestClientLeavesOverTLS(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = pair(t, "cache")
	d := c.blob(string(make([]byte, 64<<20)))
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Accel-Redirect", d.String()) })
	c.start()
	conn, err := tls.Dial("tcp", c.address(), &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET /v2/quay.io/a/blobs/"+d.String()+" HTTP/1.1\r\nHost: cache\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, conn.NetConn().Close())
	assert.Less(t, c.records(1)[0].Bytes, int64(64<<20))
	c.eventually(func() bool { return transfers.Load() == 0 })
}
