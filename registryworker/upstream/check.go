package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"registrycache/config"
)

// Check is what came of trying one credential.
type Check struct {
	// Scope and Username are the credential's; both are empty for anonymous.
	Scope, Username string
	// Err is nil when the upstream was reached and takes the credential.
	Err error
}

// Check tries every credential, or an anonymous request when there is none,
// without the tokens of earlier requests. An upstream whose /v2/ asks for no
// credentials can't be made to judge one: only reaching it is checked then.
func (c *Client) Check(ctx context.Context) []Check {
	if len(c.auth.credentials) == 0 {
		return []Check{{Err: c.check(ctx, nil)}}
	}
	var checks []Check
	for i := range c.auth.credentials {
		cred := &c.auth.credentials[i]
		checks = append(checks, Check{Scope: cred.Scope, Username: cred.Username, Err: c.check(ctx, cred)})
	}
	return checks
}

func (c *Client) check(ctx context.Context, cred *config.Credential) error {
	op := "check " + c.origin
	release, err := c.api.acquire(ctx)
	if err != nil {
		return c.report.wrap(op, err)
	}
	defer release()

	resp, err := c.ping(ctx, "")
	if err != nil {
		return c.report.wrap(op, err)
	}
	if resp.StatusCode/100 == 2 {
		drain(resp)
		return nil
	}
	hop, challenges := resp.Request.URL, parseChallenges(resp.Header.Values("WWW-Authenticate"))
	failed := c.report.failure(op, resp)
	if failed.Kind == NotFound {
		failed.hint = "it does not answer like a registry: check url"
	}
	if failed.Status != http.StatusUnauthorized || origin(hop) != c.origin {
		return c.elsewhere(failed, hop)
	}
	g, err := c.auth.respond(ctx, hop, cred, challenges, "")
	switch {
	case errors.Is(err, errUnanswerable):
		c.auth.advise(failed, cred)
		return failed
	case cred == nil && refusesStrangers(err):
		return nil
	case err != nil:
		return c.report.wrap(op, err)
	}
	return c.confirm(ctx, op, cred, g)
}

// confirm asks again, with what a credential was traded for.
func (c *Client) confirm(ctx context.Context, op string, cred *config.Credential, g *grant) error {
	resp, err := c.ping(ctx, g.header)
	if err != nil {
		return c.report.wrap(op, err)
	}
	hop := resp.Request.URL
	var failed *Error
	if resp.StatusCode/100 == 2 {
		drain(resp)
	} else {
		failed = c.report.failure(op, resp)
	}
	switch {
	case cred == nil && (failed == nil || refusesStrangers(failed)):
		return nil
	case failed == nil:
		c.auth.health.accepted(cred)
		return nil
	case cred != nil && failed.Status == http.StatusUnauthorized && origin(hop) == c.origin:
		c.auth.health.refused(cred, failed)
	}
	c.auth.advise(failed, cred)
	return c.elsewhere(failed, hop)
}

// refusesStrangers says whether an anonymous request got as far as being
// refused. That is as far as it gets at quay.io and others, who let the
// anonymous into repositories but not into /v2/.
func refusesStrangers(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Kind == Unauthorized || e.Kind == Denied || e.Status == http.StatusBadRequest) && e.Status != 0
}

// ping asks for the API's root, the endpoint for finding out how to log in.
func (c *Client) ping(ctx context.Context, authorization string) (*http.Response, error) {
	u := *c.base
	u.Path += "/v2/"
	return c.wire.follow(ctx, c.api, request{method: http.MethodGet, url: &u}, func(_ context.Context, to *url.URL) (string, error) {
		if origin(to) != c.origin {
			return "", nil
		}
		return authorization, nil
	})
}
