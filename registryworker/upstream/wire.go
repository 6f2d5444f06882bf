package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxRedirects is how often one request may be sent elsewhere.
const maxRedirects = 10

// wire sends single requests and follows redirects; it knows nothing of
// registries.
type wire struct {
	userAgent string
	timeouts  Timeouts
	metrics   *metrics
}

// request is what is asked, wherever a redirect takes it.
type request struct {
	method string
	url    *url.URL
	header http.Header
	form   string // the body of a POST
}

// A problem is an error whose kind is known where no Error can be made yet.
type problem struct {
	kind Kind
	hint string
	err  error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

func invalid(format string, args ...any) *problem {
	return &problem{kind: Invalid, err: fmt.Errorf(format, args...)}
}

// authorize returns the Authorization header for a request to u, or "".
type authorize func(ctx context.Context, u *url.URL) (string, error)

// follow sends the request and follows redirects. net/http's Client would keep
// Authorization for subdomains and other ports, pass the query of a signed
// address on as Referer, and print it in errors; here each hop asks authorize
// for itself. A POST, which holds secrets in its body, is never redirected.
func (w *wire) follow(ctx context.Context, l *lane, r request, auth authorize) (*http.Response, error) {
	u := r.url
	for hop := 0; ; hop++ {
		authorization, err := auth(ctx, u)
		if err != nil {
			return nil, err
		}
		resp, err := w.roundTrip(ctx, l, r, u, authorization)
		if err != nil {
			return nil, err
		}
		if r.method == http.MethodPost || !isRedirect(resp.StatusCode) {
			return resp, nil
		}
		next, err := redirectTarget(u, resp.Header.Get("Location"))
		drain(resp)
		if err != nil {
			return nil, err
		}
		if hop == maxRedirects {
			return nil, invalid("more than %d redirects, the last to %s", maxRedirects, next.Host)
		}
		u = next
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirectTarget resolves a Location. Its errors name no more than the host:
// such addresses often carry a signature that is a secret.
func redirectTarget(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, invalid("a redirect without Location")
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, invalid("a redirect with a malformed Location")
	}
	if (to.Scheme != "http" && to.Scheme != "https") || to.Host == "" {
		return nil, invalid("a redirect to something that is not http(s)")
	}
	if from.Scheme == "https" && to.Scheme == "http" {
		return nil, invalid("a redirect from https down to http, at %s: refused", to.Host)
	}
	to.User, to.Fragment, to.RawFragment = nil, "", ""
	return to, nil
}

// roundTrip sends one request to one host and returns its answer, whatever the
// status. The body fails when it stays silent too long.
func (w *wire) roundTrip(ctx context.Context, l *lane, r request, u *url.URL, authorization string) (*http.Response, error) {
	own, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(own, r.method, u.String(), strings.NewReader(r.form))
	if err != nil {
		cancel(nil)
		return nil, invalid("the request can't be made: malformed address")
	}
	if r.method != http.MethodPost {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", w.userAgent)
	// Without this field any encoding is as good (RFC 9110 section 12.5.3), and
	// encoded bytes have another digest.
	req.Header.Set("Accept-Encoding", "identity")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	// The transport times dial, TLS and header one by one, but not what is said
	// to a proxy. This covers all of them, each twice for a proxy in between.
	limit := 2*(w.timeouts.Dial+w.timeouts.TLS) + w.timeouts.Header
	watchdog := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %s", limit)) })
	sent := time.Now()
	resp, err := l.transport.RoundTrip(req)
	watchdog.Stop()
	if err != nil {
		w.metrics.unanswered(r.method)
		err = endOf(ctx, own, err)
		cancel(nil)
		return nil, err
	}
	w.metrics.answered(r.method, resp.StatusCode, time.Since(sent))
	resp.Body = w.newBody(ctx, own, cancel, resp.Body)
	return resp, nil
}

// endOf says why a request ended: the caller's context, one of our own limits,
// or else the error itself.
func endOf(caller, own context.Context, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	if cause := context.Cause(own); cause != nil {
		return cause
	}
	return err
}

// origin is scheme, host and port: what credentials are bound to.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
