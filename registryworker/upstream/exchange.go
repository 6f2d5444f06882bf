package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// call is one request about a repository.
type call struct {
	request
	op   string // for errors
	repo string
	lane *lane
}

// call makes one; names in the path have been checked.
func (c *Client) call(method, op, repo string, path ...string) call {
	u := *c.base
	u.Path += "/v2/" + repo + "/" + strings.Join(path, "/")
	return call{request: request{method: method, url: &u, header: http.Header{}}, op: op, repo: repo, lane: c.api}
}

// do sends a call, answers one challenge a host, and returns an answer of the
// 2xx kind or an *Error. Closing its body gives the lane back its slot.
func (c *Client) do(ctx context.Context, q call) (*http.Response, error) {
	release, err := q.lane.acquire(ctx)
	if err != nil {
		return nil, c.report.wrap(q.op, err)
	}
	resp, err := c.exchange(ctx, q)
	if err != nil {
		release()
		c.history.ended(q.method, err)
		return nil, err
	}
	c.history.answer()
	resp.Body = &held{ReadCloser: resp.Body, release: release}
	return resp, nil
}

// broken makes an *Error of what is wrong with an answer that do returned.
func (c *Client) broken(ctx context.Context, op string, err error) *Error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrStalled) {
		err = cause // who gave it up had a reason
	}
	e := c.report.wrap(op, err)
	c.history.ended(http.MethodGet, e)
	return e
}

func (c *Client) exchange(ctx context.Context, q call) (*http.Response, error) {
	for answered := map[string]bool{}; ; {
		var used string // by the last hop
		resp, err := c.wire.follow(ctx, q.lane, q.request, func(ctx context.Context, u *url.URL) (string, error) {
			var err error
			used, err = c.auth.header(ctx, u, q.repo)
			return used, err
		})
		if err != nil {
			return nil, c.report.wrap(q.op, err)
		}
		hop := resp.Request.URL
		if origin(hop) == c.origin {
			c.rateLimit(resp.Header)
		}
		if resp.StatusCode/100 == 2 {
			c.auth.settled(hop, q.repo, used, nil)
			return resp, nil
		}
		challenges := parseChallenges(resp.Header.Values("WWW-Authenticate"))
		failed := c.report.failure(q.op, resp)
		if resp.StatusCode == http.StatusUnauthorized && !answered[origin(hop)] {
			answered[origin(hop)] = true
			err := c.auth.answer(ctx, hop, q.repo, challenges, used)
			if err == nil {
				continue
			}
			if !errors.Is(err, errUnanswerable) {
				return nil, c.report.wrap(q.op, err)
			}
		}
		c.auth.settled(hop, q.repo, used, failed)
		return nil, c.elsewhere(failed, hop)
	}
}

// elsewhere corrects an error that comes from where the upstream redirects to.
// That host has no say in who may pull: most often such a refusal is of a
// signed address that is too old, and a new one will do.
func (c *Client) elsewhere(e *Error, hop *url.URL) *Error {
	if origin(hop) == c.origin {
		return e
	}
	e.Err = errors.New("this was the answer of " + hop.Host + ", where the upstream redirects to")
	if e.Kind == Unauthorized || e.Kind == Denied {
		e.Kind = Unavailable
	}
	return e
}

// reference writes what is asked for as users do.
func reference(repo, ref string) string {
	if isDigest(ref) {
		return repo + "@" + ref
	}
	return repo + ":" + ref
}
