package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
)

// Timeouts limit the phases of a request. A zero takes its default.
type Timeouts struct {
	// Dial is for the name lookup and the connection; 5 s.
	Dial time.Duration
	// TLS is for the handshake; 10 s.
	TLS time.Duration
	// Header is from the request's end to the answer's header; 30 s.
	Header time.Duration
	// IdleBody is how long a body may stay without a byte; 30 s.
	IdleBody time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Dial:     cmp.Or(t.Dial, 5*time.Second),
		TLS:      cmp.Or(t.TLS, 10*time.Second),
		Header:   cmp.Or(t.Header, 30*time.Second),
		IdleBody: cmp.Or(t.IdleBody, 30*time.Second),
	}
}

// Options are what does not come from the upstream's own configuration.
type Options struct {
	Proxy config.Proxy
	Log   zerolog.Logger
	// Registerer may be nil. Several clients may share one.
	Registerer prometheus.Registerer
	Timeouts   Timeouts
	// UserAgent is "registry-cache" when empty.
	UserAgent string
}

// Client talks to one upstream. It is safe for concurrent use.
type Client struct {
	name    string
	base    *url.URL
	origin  string
	wire    *wire
	api     *lane
	blobs   *lane
	auth    *authorizer
	report  *report
	history history
	metrics *metrics
	close   context.CancelFunc
}

// New makes the client of an upstream and reports what in its settings can't
// work. It sends nothing.
func New(u config.Upstream, opt Options) (*Client, error) {
	c, err := build(u, opt)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	return c, nil
}

func build(u config.Upstream, opt Options) (*Client, error) {
	base, err := parseBase(u.URL)
	if err != nil {
		return nil, err
	}
	times := opt.Timeouts.withDefaults()
	api, blobs, err := newLanes(u, opt.Proxy, times)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(opt.Registerer, u.Name)
	if err != nil {
		return nil, err
	}
	agent := opt.UserAgent
	if agent == "" {
		agent = "registry-cache"
	}
	log := opt.Log.With().Str("upstream", u.Name).Logger()
	life, end := context.WithCancel(context.Background())
	c := &Client{
		name: u.Name, base: base, origin: origin(base), api: api, blobs: blobs, metrics: m, close: end,
		wire:   &wire{userAgent: agent, timeouts: times, metrics: m},
		report: newReport(u),
	}
	c.auth = &authorizer{
		life: life, wire: c.wire, lane: api, report: c.report, log: log, now: time.Now, tokenTimeout: tokenTimeout,
		origin: c.origin, realms: newRealms(u, base), credentials: u.Credentials,
		health: &health{upstream: u.Name, log: log, metrics: m, refusals: map[string]int{}},
		grants: map[grantKey]*grant{}, rotated: map[string]string{},
	}
	return c, nil
}

// parseBase never repeats the address in an error: it may hold a password.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return nil, errors.New("url is not an address: want http(s)://host[:port][/prefix]")
	case u.User != nil:
		return nil, errors.New("url holds a user or a password: those belong into the pull secret")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("url has a query or a fragment: want http(s)://host[:port][/prefix]")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// Name returns the registry's host, or host:port, as clients know it.
func (c *Client) Name() string { return c.name }

// Close ends token requests under way and closes idle connections. Requests
// and bodies under way end with their own contexts.
func (c *Client) Close() {
	c.close()
	c.api.transport.CloseIdleConnections()
	c.blobs.transport.CloseIdleConnections()
}
