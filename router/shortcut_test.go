package router

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/router/pulls"
	"registrycache/router/statuspage"
)

// remembering is a handler that remembers a few answers and has no worker.
func remembering(t testing.TB) *handler {
	t.Helper()
	tune := productionTuning
	tune.retryWaits = nil
	store, err := images.Open(t.TempDir())
	require.NoError(t, err)
	h := &handler{tune: tune, store: store, metrics: newMetrics(prometheus.NewRegistry()), hits: newHits(), pulls: pulls.New(zerolog.Nop()), page: statuspage.New(""), log: zerolog.Nop(), warnings: zerolog.Nop()}
	st, err := newState(config.Router{
		DefaultRoute: "quay.io", Routes: []config.Route{{Path: "quay.io", Name: "quay.io", Aliases: []string{"q"}, Socket: "/nowhere"}},
	}, &state{}, tune)
	require.NoError(t, err)
	h.state.Store(st)
	t.Cleanup(h.close)
	h.remember("/v2/quay.io/a/manifests/1", "the manifest")
	h.remember("/v2/quay.io/a/manifests/"+someDigest, strings.Repeat("long ", 20<<10))
	h.remember("/v2/quay.io/a/referrers/"+someDigest+"?artifactType=x", "{}")
	return h
}

func (h *handler) remember(key, body string) {
	e := newHit(h.state.Load().upstreams["quay.io"], 0, &http.Response{StatusCode: http.StatusOK, Header: http.Header{
		"Cache-Control": {"max-age=60"}, "Content-Type": {manifestType}, digestHeader: {someDigest}, "Etag": {`"` + someDigest + `"`},
	}})
	e.until = e.until.Add(time.Hour)
	e.setBody([]byte(body))
	h.hits.lru.Add(key, e) // of any size
}

// script is the server's end of a connection whose client sends these pieces,
// each not before the server waits for a request, or all as fast as they are
// read.
type script struct {
	stream //nolint:unused // nil: completes the interface; what is not defined here must not be called
	eager  bool

	mu      sync.Mutex
	cond    sync.Cond
	pieces  [][]byte
	past    bool // the time to read is over
	closed  bool
	written bytes.Buffer
}

func newScript(eager bool, pieces ...string) *script {
	s := &script{eager: eager}
	s.cond.L = &s.mu
	for _, p := range pieces {
		if p != "" {
			s.pieces = append(s.pieces, []byte(p))
		}
	}
	return s
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// net/http watches with reads of one byte whether the client leaves.
	for (!s.eager || len(s.pieces) == 0) && len(p) == 1 && !s.past && !s.closed {
		s.cond.Wait()
	}
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.past:
		return 0, os.ErrDeadlineExceeded
	case len(s.pieces) == 0:
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.written.Write(p)
}

func (s *script) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, src)
}

func (s *script) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = !t.IsZero() && t.Before(time.Now())
	s.cond.Broadcast()
	return nil
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
	return nil
}

func (*script) SetWriteDeadline(time.Time) error { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) CloseWrite() error                { return nil }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }
func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// oneConn is a listener for one connection.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	l.once.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (*oneConn) Close() error   { return nil }
func (*oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// play has net/http serve a connection until it ends, and returns what the
// client got and how many requests went through net/http.
func play(h *handler, s *script, wrap func(net.Conn) net.Conn) (answers []byte, through int64) {
	server := newServer(h)
	var served atomic.Int64
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		h.ServeHTTP(w, r)
	})
	l := &oneConn{conn: wrap(s), done: make(chan struct{})}
	ended := sync.OnceFunc(func() { close(l.done) })
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		connState(conn, state)
		if state == http.StateClosed {
			ended()
		}
	}
	_ = server.Serve(l)
	_ = server.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.Bytes(), served.Load()
}

type got struct {
	Status int
	Header http.Header
	Body   string
}

func parseAnswers(t *testing.T, stream []byte, methods []string) (all []got) {
	t.Helper()
	reader := bufio.NewReader(bytes.NewReader(stream))
	for i := 0; ; i++ {
		if _, err := reader.Peek(1); err == io.EOF {
			return all
		}
		method := http.MethodGet
		if i < len(methods) {
			method = methods[i]
		}
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		require.NoError(t, err, "%q", stream)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		response.Header.Del("Date")
		if response.Header.Get("Age") != "" {
			response.Header.Set("Age", "some")
		}
		all = append(all, got{response.StatusCode, response.Header, string(body)})
	}
}

// requireSame plays the pieces with and without the shortcut. The client can't
// tell the difference.
func requireSame(t *testing.T, h *handler, eager bool, pieces ...string) (through int64) {
	t.Helper()
	plain, _ := play(h, newScript(eager, pieces...), func(c net.Conn) net.Conn { return c })
	short, through := play(h, newScript(eager, pieces...), func(c net.Conn) net.Conn { return newShortcut(c, h) })
	// HEAD is what makes a difference in reading answers.
	var methods []string
	for line := range strings.Lines(strings.Join(pieces, "")) {
		if method, _, ok := strings.Cut(line, " /"); ok && !strings.Contains(method, " ") {
			methods = append(methods, method)
		}
	}
	require.Empty(t, cmp.Diff(parseAnswers(t, plain, methods), parseAnswers(t, short, methods)), "%q", pieces)
	return through
}

const (
	hitTag    = "GET /v2/quay.io/a/manifests/1 HTTP/1.1\r\nHost: cache\r\n\r\n"
	hitHead   = "HEAD /v2/q/a/manifests/1 HTTP/1.1\r\nHost: cache\r\n\r\n"
	missed    = "GET /v2/quay.io/Wrong/manifests/1 HTTP/1.1\r\nHost: cache\r\n\r\n"
	partOfTag = "GET /v2/quay.io/a/manifests/1 HTTP/1.1\r\nHost: cache\r\nRange: bytes=4-\r\n\r\n"
	pingOnce  = "GET /v2/ HTTP/1.1\r\nHost: cache\r\n\r\n"
)

var hitDigest = "GET /v2/quay.io/a/manifests/" + someDigest + " HTTP/1.1\r\nHost: cache\r\n\r\n"

func TestShortcutAnswersAsNetHTTPDoes(t *testing.T) {
	h := remembering(t)
	referrers := "GET /v2/a/referrers/" + someDigest + "?artifactType=x&ns=quay.io HTTP/1.1\r\nHost: cache\r\n\r\n"
	for name, tt := range map[string]struct {
		pieces  []string
		through int64
	}{
		"a hit":                    {[]string{hitTag}, 0},
		"hits":                     {[]string{hitTag, hitHead, hitDigest, referrers, hitTag}, 0},
		"and others between":       {[]string{hitTag, partOfTag, hitTag, missed, hitHead, pingOnce, hitTag}, 3},
		"in two pieces":            {[]string{hitTag[:30], hitTag[30:], hitTag}, 1},
		"cut after each line":      {[]string{hitTag[:40], hitTag[40:53], hitTag[53:], hitTag}, 1},
		"in single bytes":          {strings.Split(hitTag, ""), 1},
		"two in one piece":         {[]string{hitTag + hitTag, hitTag}, 2},
		"one and a half":           {[]string{hitTag + hitTag[:10], hitTag[10:], hitTag}, 2},
		"with bare line feeds":     {[]string{strings.ReplaceAll(pingOnce, "\r", "") + hitTag, hitTag, hitTag}, 2},
		"after an empty line":      {[]string{"\r\n" + hitTag}, 0},
		"a body":                   {[]string{"GET /v2/ HTTP/1.1\r\nHost: cache\r\nContent-Length: " + "57\r\n\r\n", hitTag, hitTag}, 1},
		"a body in the same piece": {[]string{"POST /v2/ HTTP/1.1\r\nHost: cache\r\nContent-Length: 57\r\n\r\n" + hitTag, hitTag}, 1},
		"chunks":                   {[]string{"GET /v2/ HTTP/1.1\r\nHost: cache\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n", hitTag}, 1},
		"an empty body":            {[]string{"POST /v2/ HTTP/1.1\r\nHost: cache\r\nContent-Length: 0\r\n\r\n", hitTag}, 1},
		"an old client's newline":  {[]string{"POST /v2/ HTTP/1.1\r\nHost: cache\r\nContent-Length: 0\r\n\r\n", "\r\n", hitTag, hitTag}, 2},
		"nonsense":                 {[]string{"nonsense\r\n\r\n", hitTag}, 0},
		"close":                    {[]string{hitTag, "GET /v2/ HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n", hitTag}, 1},
		"the end midway":           {[]string{hitTag, hitTag[:20]}, 0},
		"longer than net/http's buffer": {[]string{
			"GET /v2/quay.io/a/manifests/1 HTTP/1.1\r\nHost: cache\r\nX-A: " + strings.Repeat("a", 5000) + "\r\n\r\n", hitTag}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.through, requireSame(t, h, false, tt.pieces...))
			requireSame(t, h, true, tt.pieces...)
		})
	}
}

// A connection whose bytes are cut and ordered in any way.
func FuzzShortcut(f *testing.F) {
	f.Add(hitTag+hitHead+hitDigest, uint64(57), uint64(110), false)
	f.Add(hitTag+partOfTag+hitTag+pingOnce, uint64(57), uint64(60), true)
	f.Add("POST /v2/ HTTP/1.1\r\nHost: cache\r\nContent-Length: 57\r\n\r\n"+hitTag+hitTag, uint64(54), uint64(111), false)
	f.Add(strings.ReplaceAll(pingOnce, "\r", "")+hitTag+hitTag, uint64(30), uint64(100), true)
	f.Add("\r\n\r\n"+hitTag+hitTag, uint64(2), uint64(4), false)
	h := remembering(f)
	f.Fuzz(func(t *testing.T, stream string, first, second uint64, eager bool) {
		size := uint64(len(stream))
		if size == 0 || strings.Contains(stream, "HTTP/1.0") || strings.Contains(stream, "HEAD") {
			return // answers that need their request to be read
		}
		first %= size + 1
		second = first + second%(size-first+1)
		// Of fewer than four bytes net/http says nothing when a request came before
		// them of which it knows, and 400 otherwise.
		requireSame(t, h, eager, stream[:first], stream[first:second], stream[second:]+"0000")
	})
}

func TestShortcutIsRecordedAsAnyRequest(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", manifest("0123456789", "max-age=60"))
	c.start()
	header := http.Header{"User-Agent": {"podman/5"}}
	for _, method := range []string{http.MethodGet, http.MethodGet, http.MethodHead, http.MethodHead} {
		for _, path := range []string{"/v2/q/a/manifests/1", "/v2/a/manifests/1?ns=quay.io"} {
			c.do(c.request(method, path, header))
		}
		header = http.Header{"User-Agent": {"podman/5"}, "Range": {"bytes=0-"}} // the long way
	}
	records := c.records(8)
	want := accesslog.Record{
		Method: "GET", Path: "/v2/a/manifests/1", Upstream: "quay.io", Repository: "quay.io/a", Reference: "1", Kind: "manifests",
		Digest: someDigest, Status: 200, Bytes: 10, Cache: accesslog.Hit, UserAgent: "podman/5",
	}
	ignore := cmpopts.IgnoreFields(accesslog.Record{}, "Time", "Duration", "RemoteAddr")
	assert.Empty(t, cmp.Diff(want, records[1], ignore))
	partial := want
	partial.Status = 206
	assert.Empty(t, cmp.Diff(partial, records[3], ignore))
	want.Method, want.Bytes = "HEAD", 0
	assert.Empty(t, cmp.Diff(want, records[7], ignore))
	assert.Equal(t, records[1].RemoteAddr, records[3].RemoteAddr, "on the same connection")
}

func TestShortcutOnlyForThoseWhoAreAdmitted(t *testing.T) {
	c := newCache(t)
	c.settings.Auth = htpasswd(t, "ann", "secret")
	c.worker("quay.io", manifest("0123456789", "max-age=60"))
	c.start()
	ask := func(authorize func(*http.Request)) int {
		r := c.request(http.MethodGet, "/v2/quay.io/a/manifests/1", nil)
		authorize(r)
		response, body := c.do(r)
		if response.StatusCode == http.StatusOK {
			assert.Equal(t, "0123456789", body)
		}
		return response.StatusCode
	}
	for range 3 {
		assert.Equal(t, 200, ask(func(r *http.Request) { r.SetBasicAuth("ann", "secret") }))
		assert.Equal(t, 401, ask(func(r *http.Request) { r.SetBasicAuth("ann", "wrong") }))
		assert.Equal(t, 401, ask(func(r *http.Request) { r.SetBasicAuth("", "") }))
		assert.Equal(t, 401, ask(func(*http.Request) {}))
		assert.Equal(t, 401, ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }))
	}
	for _, r := range c.records(15) {
		if r.Status == 200 {
			assert.Equal(t, "ann", r.User)
		}
	}
	c.update(func(s *config.Router) { s.Auth = htpasswd(t, "bob", "other") })
	assert.Equal(t, 401, ask(func(r *http.Request) { r.SetBasicAuth("ann", "secret") }), "on the open connection, too")
}

// deadlines is a connection that notes until when it is read.
type deadlines struct {
	stream
	until time.Time
	set   int
}

func (d *deadlines) Write(p []byte) (int, error) { return len(p), nil }

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.until = t
	d.set++
	return nil
}

func TestConnectionOfHitsStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &deadlines{}
		c := &shortcut{stream: conn, h: remembering(t)}
		hd, ok := parseHead([]byte(hitTag))
		require.True(t, ok)
		idle := c.h.tune.idleTimeout
		for range 600 {
			answered, err := c.answer(hd)
			require.NoError(t, err)
			require.True(t, answered)
			require.GreaterOrEqual(t, time.Until(conn.until), idle-idle/extendParts)
			time.Sleep(time.Second)
		}
		require.Less(t, conn.set, 60, "the limit is not set for each")
	})
}

func TestSlowHeaderAfterAHitIsCut(t *testing.T) {
	c := newCache(t)
	c.tune.readHeaderTimeout = 20 * time.Millisecond
	c.worker("quay.io", manifest("0123456789", "max-age=60"))
	c.start()
	c.get("/v2/quay.io/a/manifests/1")
	conn := c.dial()
	_, err := io.WriteString(conn, hitTag)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	_, err = io.WriteString(conn, hitTag[:20])
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err)
}

// patient gives out connections on which net/http never reads the first byte of
// the next request while it is busy with the one before, as it does when a client
// is very fast. Such a request takes no shortcut.
type patient struct{ net.Listener }

func (l patient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{TCPConn: conn.(*net.TCPConn), past: make(chan struct{}, 1)}, nil
}

type patientConn struct {
	*net.TCPConn
	past chan struct{}
}

// Read knows by its one byte that net/http watches whether the client leaves.
func (c *patientConn) Read(p []byte) (int, error) {
	if len(p) == 1 {
		<-c.past
		return 0, os.ErrDeadlineExceeded
	}
	return c.TCPConn.Read(p)
}

func (c *patientConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.past <- struct{}{}
	}
	return c.TCPConn.SetReadDeadline(t)
}

// hugeHit runs a router on which a client has asked for more than the sockets
// buffer, by the shortcut. net/http takes the connection for idle meanwhile.
func hugeHit(t *testing.T) (conn net.Conn, size int, shutdown context.CancelFunc, done <-chan error) {
	t.Helper()
	h := remembering(t)
	size = 32 << 20
	h.remember("/v2/quay.io/a/manifests/2", strings.Repeat("x", size))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, shutdown := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx, nil, patient{ln}, func() {}) }()
	conn, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, pingOnce) // the first request of a connection takes no shortcut
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	_, err = io.WriteString(conn, strings.Replace(hitTag, "manifests/1", "manifests/2", 1))
	require.NoError(t, err)
	return conn, size, shutdown, ended
}

func TestShutdownLetsAHitGoOut(t *testing.T) {
	conn, size, shutdown, done := hugeHit(t)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	shutdown()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Len(t, body, size)
	require.NoError(t, <-done)
}

func TestClientThatReadsNothingHoldsUpNoShutdown(t *testing.T) {
	conn, _, shutdown, done := hugeHit(t)
	_, err := io.ReadFull(conn, make([]byte, 10))
	require.NoError(t, err)
	shutdown()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the router does not end")
	}
}
