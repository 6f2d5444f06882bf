package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// Profiles are for go tool pprof, so it is what must take them.
func TestProfilesOfEveryProcess(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env:       map[string]string{"PPROF": "true"},
	})
	base := "http://" + a.MetricsAddr
	processes := strings.Fields(string(a.Metrics(t).Get("/debug/pprof/").Body))
	require.Len(t, processes, 5, "%s", processes)
	for path, function := range map[string]string{
		"supervisor":     "registrycache/supervisor.Run",
		"router":         "registrycache/router.Run",
		"worker/quay.io": "registrycache/registryworker.Run",
		"logger":         "registrycache/logger.Run",
		"cleaner":        "registrycache/cleaner.Run",
	} {
		require.Contains(t, processes, "/debug/pprof/"+path+"/")
		tool := exec.Command("go", "tool", "pprof", "-top", "-cum", "-nodefraction=0", base+"/debug/pprof/"+path+"/goroutine")
		tool.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
		out, err := tool.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), function, path)
	}
	cpu := exec.Command("go", "tool", "pprof", "-raw", base+"/debug/pprof/router/profile?seconds=1")
	cpu.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	out, err := cpu.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "cpu/nanoseconds")
	// The credentials are in the worker's memory, and in no profile.
	_, password, _ := strings.Cut(harness.Login, ":")
	for _, profile := range []string{"heap?debug=1", "goroutine?debug=2"} {
		require.NotContains(t, string(a.Metrics(t).Get("/debug/pprof/worker/quay.io/"+profile).Body), password)
	}
}

func TestNoProfilesByDefault(t *testing.T) {
	t.Parallel()
	a := harness.Cache(t, harness.NewOpenUpstream(t))
	answer := a.Metrics(t).Must(http.MethodGet, "/debug/pprof/")
	require.Equal(t, http.StatusNotFound, answer.Status)
}
