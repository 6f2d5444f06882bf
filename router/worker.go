package router

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"registrycache/config"
	"registrycache/images"
	"registrycache/router/address"
)

// upstream is the worker of one upstream, behind its unix socket.
type upstream struct {
	name   string
	socket string
	// store has the blobs that the worker names.
	store     *images.Store
	transport *http.Transport
	waits     []time.Duration
	flights   *flights
	// term grows whenever a worker may have ended or been replaced by one with
	// other settings. What it said in an earlier term no longer counts.
	term atomic.Uint64
}

const (
	maxIdleConns    = 128
	idleConnTimeout = 90 * time.Second
	// continueTimeout is how long a worker may take to say whether it wants the
	// body of a push whose client asked that.
	continueTimeout = 10 * time.Second
)

func newUpstream(route config.Route, storeDir string, tune tuning) *upstream {
	if route.Hosted {
		storeDir = images.HostedDir(storeDir)
	}
	u := &upstream{
		name: route.Name, socket: route.Socket, store: images.At(storeDir),
		waits: tune.retryWaits, flights: newFlights(),
	}
	u.transport = &http.Transport{
		DialContext:           u.dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   maxIdleConns,
		IdleConnTimeout:       idleConnTimeout,
		ResponseHeaderTimeout: tune.answerTimeout,
	}
	if route.Hosted {
		// To put a large blob on a slow disk takes as long as it takes, once all of
		// it is sent.
		u.transport.ResponseHeaderTimeout = 0
		u.transport.ExpectContinueTimeout = continueTimeout
	}
	return u
}

// dial connects to whichever process accepts on the worker's socket.
func (u *upstream) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", u.socket)
	if err != nil {
		return nil, err
	}
	return &workerConn{Conn: conn, upstream: u}, nil
}

// workerConn notices when the worker closes a connection. It does so when it
// ends: it was replaced by one with new settings, or killed. A connection
// without a request stays open for longer (idleConnTimeout) than what was
// answered on it is remembered (maxKept), so the end of a worker is not missed.
type workerConn struct {
	net.Conn
	upstream *upstream
}

func (c *workerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.upstream.term.Add(1)
	}
	return n, err
}

// ask sends a request to the worker. Pulls change nothing, so one that
// got no answer is sent again, a few times: a worker that was just replaced
// cuts what it had not begun to answer.
func (u *upstream) ask(ctx context.Context, method string, target address.Target, header http.Header) (*http.Response, error) {
	request := (&http.Request{
		Method: method,
		// The host is for the form's sake; the socket says who is meant.
		URL:    &url.URL{Scheme: "http", Host: "worker", Path: target.Path(), RawQuery: target.Query},
		Header: header,
	}).WithContext(ctx)
	for try := 0; ; try++ {
		response, err := u.transport.RoundTrip(request)
		if err == nil || try == len(u.waits) || ctx.Err() != nil || !worthAnother(err) {
			return response, err
		}
		if err := wait(ctx, u.waits[try]); err != nil {
			return nil, err
		}
	}
}

// worthAnother says whether asking again may help. It won't when the worker
// took the request and did not answer in time.
func worthAnother(err error) bool {
	// The full queue of a socket counts as a timeout, too.
	if refusedConnection(err) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return !ok || !timeout.Timeout()
}
