package router

import (
	"bytes"
	stdlog "log"
	"net/http"

	"github.com/rs/zerolog"
)

// maxHeaderBytes bounds the header of a request.
const maxHeaderBytes = 64 << 10

func newServer(h *handler) *http.Server {
	// HTTP/2 doubles the CPU of a blob and gains a puller nothing.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: h.tune.readHeaderTimeout,
		IdleTimeout:       h.tune.idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// There is no WriteTimeout: a slow client may take hours over a layer.
		ConnContext:                  withBatch,
		ConnState:                    connState,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     stdlog.New(serverLog{h.warnings}, "", 0),
	}
}

// serverLog takes what net/http has to say about connections.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Write(p []byte) (int, error) {
	level := zerolog.WarnLevel
	if bytes.HasPrefix(p, []byte("http: TLS handshake error")) {
		level = zerolog.DebugLevel // port scans and health checks
	}
	l.log.WithLevel(level).Msg(string(bytes.TrimSpace(p)))
	return len(p), nil
}
