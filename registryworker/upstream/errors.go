package upstream

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is what an error means to a cache.
type Kind int

const (
	// NotFound is the upstream's clear word that it has no such thing.
	NotFound Kind = iota + 1
	// Unauthorized means that credentials are missing, wrong or not accepted.
	Unauthorized
	// Denied means that the upstream knows who asks and refuses.
	Denied
	// RateLimited means that too much was asked; see Error.RetryAfter.
	RateLimited
	// Unavailable is all that may pass by itself: the network, a timeout, 5xx,
	// and the end of the caller's own context.
	Unavailable
	// Invalid is an answer that makes no sense or can't be used: a wrong
	// digest, too large, malformed.
	Invalid
)

var kindText = map[Kind]string{
	NotFound:     "not found",
	Unauthorized: "unauthorized",
	Denied:       "denied",
	RateLimited:  "rate limited",
	Unavailable:  "unavailable",
	Invalid:      "invalid answer",
}

// String returns the kind in plain words.
func (k Kind) String() string { return kindText[k] }

// Error is a request to the upstream that failed.
type Error struct {
	// Upstream is the registry's name.
	Upstream string
	// Op is what was asked, such as "get manifest podman/hello@sha256:...".
	Op   string
	Kind Kind
	// Status is the HTTP status, or 0 when there was no answer.
	Status int
	// RetryAfter is how long the upstream asked to be left alone, or 0.
	RetryAfter time.Duration
	// Message is the upstream's own explanation on one printable line, or "".
	Message string
	// Err is the cause where it is not the status.
	Err error

	hint string
	// refused says that the credentials are at fault, or the lack of any.
	refused bool
}

// ErrStalled is the end of a body from which no byte came for too long. A
// caller with a limit of its own makes it the cause of the context's end.
var ErrStalled = errors.New("the transfer stalled")

// Error names the upstream, what was asked, the cause, and what to do. It is
// one line and holds no secret.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", e.Upstream, oneLine(e.Op), e.Kind)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + oneLine(e.Err.Error()))
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; retry after %s", e.RetryAfter)
	}
	if e.hint != "" {
		b.WriteString("; " + e.hint)
	}
	return b.String()
}

// Unwrap returns the cause, so that errors.Is finds context.Canceled.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error from this package. Any other error is
// Unavailable, and nil is 0.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unavailable
}

// maxText bounds what is repeated of an upstream's words, in bytes.
const maxText = 400

// oneLine makes foreign text fit for a log line or a terminal: printable, on
// one line, bounded.
func oneLine(s string) string {
	if len(s) > 4*maxText { // what is cut off below need not be looked at
		s = s[:4*maxText]
	}
	s = strings.ToValidUTF8(s, " ")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " ")
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
