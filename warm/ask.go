package warm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"registrycache/logger/accesslog"
)

// request is one request to the cache. Repository is what a token is for.
type request struct {
	repository, path string
	header           http.Header
}

// ask sends a request, and once more with what the cache wants to know about
// who asks. An answer other than 200 and 206 is a *Refusal.
func (c *Cache) ask(ctx context.Context, method string, r request) (*http.Response, error) {
	authorization := c.auth.known(r.repository)
	response, err := c.send(ctx, method, r, authorization)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusUnauthorized {
		challenges := response.Header.Values("Www-Authenticate")
		refusal := refused(response)
		authorization, err = c.auth.answer(ctx, r.repository, challenges, authorization)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", refusal, err)
		}
		if response, err = c.send(ctx, method, r, authorization); err != nil {
			return nil, err
		}
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	refusal := refused(response)
	if refusal.Status == http.StatusUnauthorized {
		return nil, fmt.Errorf("%w: %w", refusal, c.auth.blame())
	}
	return nil, refusal
}

func (c *Cache) send(ctx context.Context, method string, r request, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL()+r.path, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.connection.UserAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	response, err := c.client.Do(req)
	if err != nil {
		return nil, plainer(err)
	}
	return response, nil
}

// cacheStatus is what the cache says about its answer. A cache before it may
// have added its own to the list.
func cacheStatus(response *http.Response) accesslog.CacheStatus {
	for _, line := range response.Header.Values(accesslog.HeaderName) {
		for member := range strings.SplitSeq(line, ",") {
			if s := accesslog.ParseHeader(strings.TrimSpace(member)); s != "" {
				return s
			}
		}
	}
	return ""
}

// maxRefusal bounds what is read of an error.
const maxRefusal = 64 << 10

// refused reads the error that an answer is, and ends the answer.
func refused(response *http.Response) *Refusal {
	defer func() { _ = response.Body.Close() }()
	payload, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // what came may do
	return newRefusal(response, bytes.TrimSpace(payload))
}
