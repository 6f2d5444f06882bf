package app

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/sirupsen/logrus"
)

// BridgeLogs sends what distribution logs to log. Distribution logs to logrus'
// standard logger and offers no other place, so this is for the whole process,
// and the last one called wins.
func BridgeLogs(log zerolog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.SetFormatter(discard{})
	std.ReplaceHooks(logrus.LevelHooks{})
	level := logrus.ErrorLevel
	if log.GetLevel() <= zerolog.DebugLevel {
		level = logrus.DebugLevel
	}
	std.SetLevel(level)
	std.AddHook(logHook{log: log})
}

// logHook demotes: the app logs every request, each error that a client
// provokes as an error, and warns of features that are off on purpose. What
// matters of requests is in the access log, and what matters of upstream and
// store is logged where it happens.
type logHook struct{ log zerolog.Logger }

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logHook) Fire(e *logrus.Entry) error {
	ev := h.log.Debug()
	if e.Level <= logrus.ErrorLevel && !harmless(e.Message) {
		ev = h.log.Warn()
	}
	for k, v := range e.Data {
		text := fmt.Sprint(v)
		if k == "http.request.uri" {
			text, _, _ = strings.Cut(text, "?") // what follows allows to go on with an upload
		}
		ev = ev.Str(k, text)
	}
	ev.Str("from", "distribution").Msg(e.Message)
	return nil
}

// harmless says whether an error of distribution's is none of the cache's, and
// the client knows of it.
func harmless(message string) bool {
	return slices.ContainsFunc(ofClients, func(beginning string) bool { return strings.HasPrefix(message, beginning) })
}

// ofClients is how those lines begin that clients provoke as they like.
var ofClients = []string{
	"response completed",       // the error itself has a line, too
	"error closing blobwriter", // an upload is closed once more after it was cancelled
	"client disconnected",
	"upload resumed at wrong offset",
	"error resolving upload: blob upload unknown",
	"payload digest does not match",
	"canonical digest does match provided digest", // so it is spelled
}

// discard spares the formatting of lines that go nowhere.
type discard struct{}

func (discard) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
