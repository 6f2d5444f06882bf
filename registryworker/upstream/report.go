package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"registrycache/config"
)

// report makes the Errors of one upstream.
type report struct {
	upstream string
	// secrets is replaced in whatever the upstream says: a debugging proxy may
	// well send the request's headers back.
	secrets *strings.Replacer
}

func newReport(u config.Upstream) *report {
	var pairs []string
	for _, c := range u.Credentials {
		for _, s := range []string{basicValue(c), c.Password.Reveal(), c.IdentityToken.Reveal()} {
			if s != "" {
				pairs = append(pairs, s, "[redacted]")
			}
		}
	}
	return &report{upstream: u.Name, secrets: strings.NewReplacer(pairs...)}
}

// basicValue is what follows "Basic " in an Authorization header.
func basicValue(c config.Credential) string {
	return base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password.Reveal()))
}

// wrap makes an *Error of anything that is not an HTTP answer.
func (r *report) wrap(op string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Upstream: r.upstream, Op: op, Kind: Unavailable, Err: err}
	if p, ok := errors.AsType[*problem](err); ok {
		e.Kind, e.hint = p.kind, p.hint
		return e
	}
	e.hint = r.networkHint(err)
	return e
}

func (r *report) networkHint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Sprintf("if its CA is your own, set ca for %s in the configuration file", r.upstream)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Sprintf("if it speaks plain http, say so in url for %s in the configuration file", r.upstream)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return "check the network, the address and the proxy settings"
}

// maxComplaint is how much of an error's body is read.
const maxComplaint = 16 << 10

// failure makes an *Error of an answer that is not a success, and closes it.
func (r *report) failure(op string, resp *http.Response) *Error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxComplaint))
	drain(resp)
	codes, message := complaint(resp.Header.Get("Content-Type"), text)
	e := &Error{
		Upstream: r.upstream, Op: op, Status: resp.StatusCode,
		Kind:    kindOfStatus(resp.StatusCode, codes),
		Message: oneLine(r.secrets.Replace(message)),
	}
	if e.Kind == RateLimited || e.Kind == Unavailable {
		e.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	if resp.StatusCode == http.StatusProxyAuthRequired {
		e.hint = "check user and password in the proxy settings"
	}
	return e
}

func kindOfStatus(status int, codes []string) Kind {
	has := func(known ...string) bool {
		return slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(known, c) })
	}
	switch {
	case status == http.StatusTooManyRequests, status >= 400 && has("TOOMANYREQUESTS"):
		return RateLimited
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusNotFound, status == http.StatusGone,
		status >= 400 && status < 500 && has("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"):
		return NotFound
	case status == http.StatusForbidden, status == http.StatusUnavailableForLegalReasons,
		status >= 400 && status < 500 && has("DENIED"):
		return Denied
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status == http.StatusProxyAuthRequired:
		return Unavailable
	}
	return Invalid
}

// complaint reads the forms in which registries and token servers explain
// themselves: the OCI error list, OAuth2's error, and the single fields that
// several use. Anything but JSON and plain text, an HTML page above all, says
// nothing.
func complaint(contentType string, text []byte) (codes []string, message string) {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Message     string `json:"message"`
		Details     string `json:"details"`
		Description string `json:"error_description"`
	}
	// A field of an unexpected type spoils only itself.
	if err := json.Unmarshal(text, &doc); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
			if media, _, _ := mime.ParseMediaType(contentType); media == "text/plain" {
				return nil, string(text)
			}
			return nil, ""
		}
	}
	var said []string
	for _, e := range doc.Errors {
		codes = append(codes, e.Code)
		if words := strings.TrimSuffix(e.Code+": "+e.Message, ": "); words != "" {
			said = append(said, strings.TrimPrefix(words, ": "))
		}
	}
	if len(said) > 0 {
		return codes, strings.Join(said, ", ")
	}
	for _, s := range []string{doc.Message, doc.Details, doc.Description} {
		if s != "" {
			return codes, s
		}
	}
	return codes, ""
}
