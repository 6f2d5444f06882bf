package warm

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Refusal is an answer of the cache that is an error.
type Refusal struct {
	Status int
	// Code and Message are of the distribution specification, "Error Codes";
	// empty when the answer has none.
	Code, Message string
	// After is how long the cache wants to be left alone, 0 if it does not say.
	After time.Duration
	// Location is where a redirection points.
	Location string
}

func newRefusal(response *http.Response, payload []byte) *Refusal {
	r := &Refusal{
		Status: response.StatusCode, After: retryAfter(response.Header.Get("Retry-After"), time.Now()),
		Location: response.Header.Get("Location"),
	}
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(payload, &body) == nil && len(body.Errors) > 0 {
		r.Code, r.Message = body.Errors[0].Code, body.Errors[0].Message
	}
	return r
}

func (r *Refusal) Error() string {
	text := strings.TrimSpace(strconv.Itoa(r.Status) + " " + http.StatusText(r.Status))
	switch {
	case r.Message != "":
		return text + ": " + printable(r.Message)
	case r.Location != "":
		return text + ": it redirects to " + printable(r.Location) + "; give that as the cache's address"
	}
	return text
}

// passing says whether it may help to ask again.
func (r *Refusal) passing() bool {
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header of RFC 9110 section 10.2.3.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// printable keeps what came over the network from driving a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// passing says whether what failed may work in a moment.
func passing(err error) bool {
	var refusal *Refusal
	var certificate *tls.CertificateVerificationError
	var transport *transportError
	switch {
	case errors.As(err, &refusal):
		return refusal.passing()
	case errors.As(err, &certificate), errors.Is(err, errSpeaksHTTP):
		return false
	case errors.As(err, &transport), errors.Is(err, errCut), errors.Is(err, context.DeadlineExceeded):
		return true
	}
	return false
}

// unreachable says whether there is nobody to connect to.
func unreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// transportError is a request without an answer.
type transportError struct{ cause error }

func (e *transportError) Error() string { return e.cause.Error() }
func (e *transportError) Unwrap() error { return e.cause }

var errSpeaksHTTP = errors.New("what answers there does not speak TLS; if it is the cache, it has no certificate, and --plain-http is right")

// plainer takes the method and the URL off an error of package http: which
// image it is about, stands beside it.
func plainer(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return errSpeaksHTTP
	}
	return &transportError{err}
}

// after is how long the cache wants to be left alone.
func after(err error) time.Duration {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.After
	}
	return 0
}
