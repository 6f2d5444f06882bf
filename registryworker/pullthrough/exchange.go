package pullthrough

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"registrycache/logger/accesslog"
)

// exchange is one request and its answer, as the repository's services need
// it. Distribution's interfaces carry no headers, and its app wraps the
// ResponseWriter (neither io.ReaderFrom nor Unwrap), hence this way round it,
// in the request's context.
type exchange struct {
	w http.ResponseWriter
	// manifest is what checking a tag has brought: it is answered with this
	// even when the store can't keep it.
	manifest *manifest
}

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}

// Values of Cache-Control.
const (
	// forever is for what a digest names: it can't change.
	forever   = "max-age=31536000, immutable"
	noCache   = "no-cache"
	noStore   = "no-store"
	staleOnly = "max-age=0"
)

// maxAge is the Cache-Control of what may be trusted for so long.
func maxAge(d time.Duration) string {
	if d < time.Second {
		return noCache
	}
	return "max-age=" + strconv.FormatInt(int64(d/time.Second), 10)
}

// answer sets how the answer came about and how long it may be kept.
func (x *exchange) answer(s accesslog.CacheStatus, cacheControl string) {
	x.w.Header().Set(accesslog.HeaderName, s.Header())
	x.w.Header().Set("Cache-Control", cacheControl)
}
