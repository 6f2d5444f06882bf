package pullthrough

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

// codeUpstreamInvalid is not among the codes of the OCI spec, which has none
// for a gateway whose upstream talks nonsense; clients go by the status.
var codeUpstreamInvalid = errcode.Register("registrycache.upstream", errcode.ErrorDescriptor{
	Value:          "UPSTREAM_INVALID",
	Message:        "invalid answer from the upstream",
	Description:    "The upstream's answer makes no sense: a wrong digest, too large, malformed.",
	HTTPStatusCode: http.StatusBadGateway,
})

// fail turns an error into the one the client gets, and marks the exchange as
// failed. notFound is the code when the upstream has no such thing. Errors of
// the upstream's client name the upstream, the cause and the remedy already; any
// other is of this process and may pass, as it ends or its disk fails.
//
// An upstream's 401 becomes 403: there is no challenge that a client of the
// cache could answer.
func (x *exchange) fail(err error, notFound errcode.ErrorCode) error {
	x.answer(accesslog.Failed, noStore)
	if e, ok := errors.AsType[errcode.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	return codeOf(upstream.KindOf(err), notFound).WithMessage(err.Error())
}

func codeOf(k upstream.Kind, notFound errcode.ErrorCode) errcode.ErrorCode {
	switch k {
	case upstream.NotFound:
		return notFound
	case upstream.Unauthorized, upstream.Denied:
		return errcode.ErrorCodeDenied
	case upstream.RateLimited:
		return errcode.ErrorCodeTooManyRequests
	case upstream.Invalid:
		return codeUpstreamInvalid
	}
	return errcode.ErrorCodeUnavailable
}

// offlineError is the answer to what is not here while OFFLINE is set.
func (c *Cache) offlineError(what string, notFound errcode.ErrorCode) error {
	return notFound.WithMessage(what + " is not in the cache, and OFFLINE is set, so " + c.settings.Name + " is not asked")
}

// invalid is the error for an answer of the upstream that this package found
// to be wrong.
func (c *Cache) invalid(op string, cause error) error {
	return &upstream.Error{Upstream: c.settings.Name, Op: op, Kind: upstream.Invalid, Err: cause}
}
