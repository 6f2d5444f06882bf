package app

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"
)

const (
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than the router keeps an idle connection, so that
	// it never sends a request on one that closes in this moment.
	idleTimeout = 5 * time.Minute
)

// Serve answers requests until ctx is done and those in flight are finished, or
// have had the time of a drain.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, drain time.Duration, log zerolog.Logger, ready func()) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          stdlog.New(errorLog{log}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	ready()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.Shutdown(limit)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn().Stringer("after", drain).Msg("requests were still in flight; they are cut off")
		err = server.Close()
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// errorLog takes what net/http has to say: panics of handlers, above all.
type errorLog struct{ log zerolog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	l.log.Error().Str("from", "net/http").Msg(string(p))
	return len(p), nil
}
