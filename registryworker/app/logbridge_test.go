package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/rs/zerolog"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
)

// logged is what the bridge makes of what say writes.
func logged(t *testing.T, level zerolog.Level, say func(*logrus.Logger)) []map[string]string {
	t.Helper()
	var out bytes.Buffer
	BridgeLogs(zerolog.New(&out).Level(level))
	t.Cleanup(func() {
		logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
		logrus.SetOutput(os.Stderr)
	})
	say(logrus.StandardLogger())
	var all []map[string]string
	for line := range strings.Lines(out.String()) {
		var entry map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &entry), "%q is a line of our log", line)
		all = append(all, entry)
	}
	return all
}

func sayAll(l *logrus.Logger) {
	l.WithField("http.request.id", 7).Debug("authorizing request")
	l.Info("using inmemory blob descriptor cache")
	l.Warn("No HTTP secret provided")
	l.WithError(errors.New("no such file")).WithField("vars.name", "podman/hello").Error("error reading\nmanifest")
	l.Error("response completed with error")
	l.WithField("http.request.uri", "/v2/a/blobs/uploads/1?_state=token").Error("error closing blobwriter: already closed")
}

func TestLinesOfDistributionAreLinesOfOurLog(t *testing.T) {
	require.Equal(t, []map[string]string{{
		"level": "warn", "from": "distribution", "message": "error reading\nmanifest",
		"error": "no such file", "vars.name": "podman/hello",
	}}, logged(t, zerolog.InfoLevel, sayAll))
}

// What clients do is no problem of the cache, which shows the last ones.
func TestWhatClientsProvokeIsNoWarning(t *testing.T) {
	require.Empty(t, logged(t, zerolog.InfoLevel, func(l *logrus.Logger) {
		l.WithError(errors.New("unexpected EOF")).Error("client disconnected during blob PATCH")
		l.Errorf("upload resumed at wrong offset: %d != %d", 1000, 0)
		l.Errorf("error resolving upload: %v", distribution.ErrBlobUploadUnknown)
		l.Errorf("payload digest does not match: %q != %q", "sha256:a", "sha256:b")
		l.Error("canonical digest does match provided digest")
	}))
}

func TestAllLinesOfDistributionAtDebugLevel(t *testing.T) {
	var got []string
	for _, entry := range logged(t, zerolog.DebugLevel, sayAll) {
		require.Equal(t, "distribution", entry["from"])
		got = append(got, entry["level"]+" "+entry["message"])
		require.NotContains(t, entry["http.request.uri"], "token")
	}
	require.Equal(t, []string{
		"debug authorizing request", "debug using inmemory blob descriptor cache", "debug No HTTP secret provided",
		"warn error reading\nmanifest", "debug response completed with error", "debug error closing blobwriter: already closed",
	}, got)
}

func TestNothingOfDistributionWhenTheLogIsOff(t *testing.T) {
	require.Empty(t, logged(t, zerolog.Disabled, sayAll))
}
