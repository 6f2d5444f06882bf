package statuspage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"registrycache/status"
)

const (
	// freshFor is how long an answer is good for everyone.
	freshFor = time.Second
	// askTimeout is how long the supervisor may take, which asks each process.
	askTimeout = 5 * time.Second
	// maxDocument bounds what is read of an answer; one of a hundred upstreams
	// is 100 kB.
	maxDocument = 8 << 20
)

// errNoSocket says that nobody is there to be asked.
var errNoSocket = errors.New("no socket of the supervisor is known")

// ask fetches the state, as JSON.
type ask func(context.Context) ([]byte, error)

// source has the newest state. It asks when somebody wants to know, once for
// all who do.
type source struct {
	ask     ask
	flights singleflight.Group
	ctx     context.Context
	cancel  context.CancelFunc

	mu     sync.Mutex
	newest *snapshot
	err    error
	asked  time.Time // when the answer came; zero before the first
}

// snapshot is the state at one time. It is immutable but for what was rendered
// of it.
type snapshot struct {
	document status.Document
	raw      []byte

	mu       sync.Mutex
	rendered map[place][]section
}

func newSource(a ask) *source {
	s := &source{ask: a}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *source) close() { s.cancel() }

// current returns a state that is not older than freshFor. The error says that
// there is none; the last that there was comes with it, nil before the first.
func (s *source) current(ctx context.Context) (*snapshot, error) {
	if newest, err, ok := s.fresh(); ok {
		return newest, err
	}
	// The question goes on if this client leaves: others wait for the answer.
	select {
	case <-s.flights.DoChan("", s.refresh):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest, s.err
}

func (s *source) fresh() (*snapshot, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest, s.err, !s.asked.IsZero() && time.Since(s.asked) < freshFor
}

func (s *source) refresh() (any, error) {
	// Another question may have ended between the look at its answer and this.
	if _, _, ok := s.fresh(); ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
	defer cancel()
	next := new(snapshot)
	var err error
	if next.raw, err = s.ask(ctx); err == nil {
		err = json.Unmarshal(next.raw, &next.document)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.err = time.Now(), err
	if err == nil {
		s.newest = next
	}
	return nil, nil
}

// askSupervisor asks over a unix socket. Each question has a connection of its
// own, so that none is kept while nobody looks.
func askSupervisor(socket string) ask {
	if socket == "" {
		return func(context.Context) ([]byte, error) { return nil, errNoSocket }
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor"+status.Path, nil)
		if err != nil {
			return nil, err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the supervisor answered %s", response.Status)
		}
		raw, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
		if err == nil && len(raw) > maxDocument {
			err = fmt.Errorf("the supervisor's answer is larger than %d bytes", maxDocument)
		}
		return raw, err
	}
}
