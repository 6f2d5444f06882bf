package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func TestErrorsTellUpstreamAndCause(t *testing.T) {
	of := func(k upstream.Kind, status int) *upstream.Error {
		return &upstream.Error{Upstream: "quay.io", Op: "resolve podman/hello:latest", Kind: k, Status: status, Message: "as it said"}
	}
	limited := of(upstream.RateLimited, 429)
	limited.RetryAfter = 1500 * time.Millisecond
	for _, c := range []struct {
		err        error
		status     int
		code       string
		retryAfter string
		text       string
	}{
		{of(upstream.NotFound, 404), 404, "MANIFEST_UNKNOWN", "", "quay.io: resolve podman/hello:latest: not found (HTTP 404): as it said"},
		{of(upstream.Unauthorized, 401), 403, "DENIED", "", "quay.io"},
		{of(upstream.Denied, 403), 403, "DENIED", "", "quay.io"},
		{limited, 429, "TOOMANYREQUESTS", "2", "rate limited"},
		{of(upstream.Unavailable, 502), 503, "UNAVAILABLE", "", "HTTP 502"},
		{of(upstream.Invalid, 200), 502, "UPSTREAM_INVALID", "", "invalid answer"},
		{fmt.Errorf("reading: %w", of(upstream.Unavailable, 0)), 503, "UNAVAILABLE", "", "reading: quay.io"},
		{errClosed, 503, "UNAVAILABLE", "", "shutting down"},
		{context.Canceled, 503, "UNAVAILABLE", "", ""},
		{errors.New("disk on fire"), 503, "UNAVAILABLE", "", "disk on fire"},
		{errcode.ErrorCodeDenied.WithMessage("as it is"), 403, "DENIED", "", "as it is"},
	} {
		w := httptest.NewRecorder()
		x := &exchange{w: w}
		x.answer(accesslog.Hit, forever)
		require.NoError(t, errcode.ServeJSON(w, x.fail(c.err, errcode.ErrorCodeManifestUnknown)))
		assert.Equal(t, c.status, w.Code, "%v", c.err)
		assert.Contains(t, w.Body.String(), `"code":"`+c.code+`"`)
		assert.Contains(t, w.Body.String(), c.text)
		assert.Equal(t, c.retryAfter, w.Header().Get("Retry-After"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Equal(t, accesslog.Failed, accesslog.ParseHeader(w.Header().Get(accesslog.HeaderName)))
		assert.Empty(t, w.Header().Get("WWW-Authenticate"))
	}
}
