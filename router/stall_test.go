package router

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	const size = 32 << 20 // more than what lies in the buffers of a connection
	c := newCache(t)
	c.tune.stallTimeout = 300 * time.Millisecond
	d := c.blob(strings.Repeat("0", size))
	c.worker("quay.io", handsOff(nil, ""))
	c.start()
	conn := c.dial()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := io.WriteString(conn, "GET /v2/quay.io/a/blobs/"+d.String()+" HTTP/1.1\r\nHost: cache\r\n\r\n")
	require.NoError(t, err)
	r := c.records(1)[0]
	assert.Equal(t, 200, r.Status)
	assert.Less(t, r.Bytes, int64(size))
}
