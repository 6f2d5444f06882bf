package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"registrycache/status"
)

// adminClient asks one process, over its admin socket.
type adminClient struct{ http http.Client }

func newAdminClient(path string) *adminClient {
	var dialer net.Dialer
	return &adminClient{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
		// One connection is kept for the next question, seconds away: it has
		// less memory than what a new one each time leaves behind.
		MaxIdleConnsPerHost: 1,
		ReadBufferSize:      2 << 10,
		WriteBufferSize:     1 << 10,
	}}}
}

func (c *adminClient) get(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://child"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return resp, nil
}

// waitReady returns true once the process says that it is ready, and false
// when ctx ends before.
func (c *adminClient) waitReady(ctx context.Context) bool {
	for {
		if _, err := c.health(ctx); err == nil {
			return true
		}
		// One request waits for as long as it takes. It fails if the process
		// ends, which ctx is about to say.
		select {
		case <-ctx.Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// maxReason is the most that is read of a reason, in bytes.
const maxReason = 1 << 10

// health waits until the process is ready, and returns why it does its work
// only in part, if so.
func (c *adminClient) health(ctx context.Context) (degraded string, err error) {
	resp, err := c.get(ctx, "/healthz", "*/*")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	return string(body), err
}

// maxPart is the most that is read of a Part, in bytes; a week of hours and
// thousands of fills are less.
const maxPart = 4 << 20

// part returns what the process tells of the state of the cache.
func (c *adminClient) part(ctx context.Context) (part status.Part, err error) {
	resp, err := c.get(ctx, status.Path, "application/json")
	if err != nil {
		return part, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, maxPart)).Decode(&part)
	return part, err
}

// gather returns the metrics of the process.
func (c *adminClient) gather(ctx context.Context) ([]*dto.MetricFamily, error) {
	resp, err := c.get(ctx, "/metrics", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var families []*dto.MetricFamily
	decoder := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return families, nil
		}
		if err != nil {
			return nil, err
		}
		families = append(families, family)
	}
}
