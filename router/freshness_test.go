package router

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"registrycache/logger/accesslog"
)

func TestFreshness(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		close  bool
		header http.Header
		fresh  time.Duration
		shared bool
	}{
		"a digest":           {header: http.Header{"Cache-Control": {"max-age=31536000, immutable"}}, fresh: maxKept, shared: true},
		"a tag":              {header: http.Header{"Cache-Control": {"max-age=7"}}, fresh: 7 * time.Second, shared: true},
		"two lines":          {header: http.Header{"Cache-Control": {"public", "Max-Age=7"}}, fresh: 7 * time.Second, shared: true},
		"in quotes":          {header: http.Header{"Cache-Control": {`max-age="7"`}}, fresh: 7 * time.Second, shared: true},
		"older":              {header: http.Header{"Cache-Control": {"max-age=7"}, "Age": {"5"}}, fresh: 2 * time.Second, shared: true},
		"too old":            {header: http.Header{"Cache-Control": {"max-age=7"}, "Age": {"7"}}, shared: true},
		"nothing said":       {shared: true},
		"no age":             {header: http.Header{"Cache-Control": {"max-age=0"}}, shared: true},
		"a negative age":     {header: http.Header{"Cache-Control": {"max-age=-1"}}, shared: true},
		"no number":          {header: http.Header{"Cache-Control": {"max-age=1h"}}, shared: true},
		"beyond all numbers": {header: http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, shared: true},
		"the largest number": {header: http.Header{"Cache-Control": {"max-age=9223372036854775807"}}, fresh: maxKept, shared: true},
		"no-cache":           {header: http.Header{"Cache-Control": {"max-age=7, no-cache"}}, shared: true},
		"no-store":           {header: http.Header{"Cache-Control": {"max-age=7,No-Store"}}},
		"private":            {header: http.Header{"Cache-Control": {"max-age=7, private"}}, shared: true},
		"stale": {header: http.Header{"Cache-Control": {"max-age=7"}, "Cache-Status": {accesslog.Stale.Header()}},
			shared: true},
		"failed": {header: http.Header{"Cache-Control": {"max-age=7"}, "Cache-Status": {accesslog.Failed.Header()}},
			shared: true},
		"revalidated": {header: http.Header{"Cache-Control": {"max-age=7"}, "Cache-Status": {accesslog.Revalidated.Header()}},
			fresh: 7 * time.Second, shared: true},
		"not found":      {status: http.StatusNotFound, header: http.Header{"Cache-Control": {"max-age=7"}}, shared: true},
		"partial":        {status: http.StatusPartialContent, header: http.Header{"Cache-Control": {"max-age=7"}}, shared: true},
		"varies":         {header: http.Header{"Cache-Control": {"max-age=7"}, "Vary": {"Accept"}}, shared: true},
		"the last words": {close: true, header: http.Header{"Cache-Control": {"max-age=7"}}, shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.status == 0 {
				tt.status = http.StatusOK
			}
			response := &http.Response{StatusCode: tt.status, Header: tt.header, Close: tt.close}
			assert.Equal(t, tt.fresh, freshness(response))
			assert.Equal(t, tt.shared, shareable(response.Header))
		})
	}
}
