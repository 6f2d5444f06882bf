package harness

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"

	"github.com/stretchr/testify/require"
)

// Answer is a response with its body read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Caller makes plain HTTP requests to the appliance.
type Caller struct {
	t      testing.TB
	base   string
	client *http.Client
	header http.Header
	user   []string
	sent   func()
}

// HTTP is a caller of the appliance's main address.
func (a *Appliance) HTTP(t testing.TB) *Caller {
	return newCaller(t, "http://"+a.Addr, nil)
}

// HTTPS is HTTP with TLS.
func (a *Appliance) HTTPS(t testing.TB, config *tls.Config) *Caller {
	return newCaller(t, "https://"+a.Addr, config)
}

// Metrics is a caller of the metrics address.
func (a *Appliance) Metrics(t testing.TB) *Caller {
	return newCaller(t, "http://"+a.MetricsAddr, nil)
}

func newCaller(t testing.TB, base string, config *tls.Config) *Caller {
	transport := &http.Transport{TLSClientConfig: config, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &Caller{
		t: t, base: base, header: http.Header{},
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// With returns a caller that also sends a header field.
func (c *Caller) With(name, value string) *Caller {
	other := *c
	other.header = c.header.Clone()
	other.header.Add(name, value)
	return &other
}

// As returns a caller with Basic credentials.
func (c *Caller) As(user, password string) *Caller {
	other := *c
	other.user = []string{user, password}
	return &other
}

// OnSent returns a caller that calls back when a request is on its way.
func (c *Caller) OnSent(sent func()) *Caller {
	other := *c
	other.sent = sent
	return &other
}

// Open sends a request and leaves the body to be read.
func (c *Caller) Open(method, path string) (*http.Response, error) {
	return c.open(method, path, nil)
}

// Send sends a request with a body, and reads the answer.
func (c *Caller) Send(method, path string, body io.Reader) (Answer, error) {
	resp, err := c.open(method, path, body)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	answered, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: answered}, err
}

func (c *Caller) open(method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	if c.user != nil {
		req.SetBasicAuth(c.user[0], c.user[1])
	}
	if c.sent != nil {
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { c.sent() },
		}))
	}
	return c.client.Do(req)
}

// Do sends a request and reads the answer.
func (c *Caller) Do(method, path string) (Answer, error) {
	return c.Send(method, path, nil)
}

// Must is Do that may not fail.
func (c *Caller) Must(method, path string) Answer {
	c.t.Helper()
	answer, err := c.Do(method, path)
	require.NoError(c.t, err, "%s %s", method, path)
	return answer
}

// Get is Must for GET, that expects 200.
func (c *Caller) Get(path string) Answer {
	c.t.Helper()
	answer := c.Must(http.MethodGet, path)
	require.Equal(c.t, http.StatusOK, answer.Status, "GET %s: %s", path, answer.Body)
	return answer
}

// Fails expects a status and an error of the distribution specification with
// this code, and returns its message.
func (c *Caller) Fails(method, path string, status int, code string) string {
	c.t.Helper()
	answer := c.Must(method, path)
	require.Equal(c.t, status, answer.Status, "%s %s: %s", method, path, answer.Body)
	return answer.Error(c.t, code)
}

// Error returns the message of the answer's first error, whose code must be
// the given one.
func (a Answer) Error(t testing.TB, code string) string {
	t.Helper()
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	require.NoError(t, json.Unmarshal(a.Body, &body), "%s", a.Body)
	require.NotEmpty(t, body.Errors, "%s", a.Body)
	require.Equal(t, code, body.Errors[0].Code, "%s", a.Body)
	return body.Errors[0].Message
}
