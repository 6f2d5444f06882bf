package child

import (
	"bytes"
	"io"
	"log"

	"github.com/rs/zerolog"
)

func newLogger(w io.Writer, level string) zerolog.Logger {
	parsed, err := zerolog.ParseLevel(level)
	if err != nil || level == "" { // the configuration has been validated
		parsed = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(parsed).With().Timestamp().Logger()
}

// bridgeStandardLog sends what libraries write through the standard logger to
// l. net/http is among them: a server without an ErrorLog reports panics of
// handlers and failed TLS handshakes there.
func bridgeStandardLog(l zerolog.Logger) {
	log.SetFlags(0)
	log.SetOutput(warnings{l})
}

// warnings logs each write as one warning.
type warnings struct{ log zerolog.Logger }

func (w warnings) Write(p []byte) (int, error) {
	w.log.Warn().Msg(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}
