package supervisor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/supervisor/profile"
)

// gzipped is how profiles begin (RFC 1952 section 2.3.1).
const gzipped = "\x1f\x8b"

func TestProfilesOfAllProcesses(t *testing.T) {
	cfg := testConfig(t, upstream("quay.io"), upstream("localhost:5000"))
	cfg.Pprof, cfg.Cleaner.Pprof = true, true
	c := run(t, cfg)
	get := func(path string) string { return must(t)(ask("tcp", c.addr.Metrics, path)) }
	processes := strings.Fields(get(profile.Path))
	assert.Equal(t, []string{
		"/debug/pprof/supervisor/", "/debug/pprof/router/", "/debug/pprof/worker/localhost:5000/",
		"/debug/pprof/worker/quay.io/", "/debug/pprof/logger/", "/debug/pprof/cleaner/",
	}, processes)
	for _, path := range processes {
		assert.Contains(t, get(path), "heap\n", path)
		assert.True(t, strings.HasPrefix(get(path+"heap"), gzipped), path)
		assert.True(t, strings.HasPrefix(get(path+"profile?seconds=0"), gzipped), path)
	}
	// Each is of its own process.
	assert.Contains(t, get("/debug/pprof/router/goroutine?debug=1"), "supervisor.playRouter")
	assert.Contains(t, get("/debug/pprof/worker/quay.io/goroutine?debug=1"), "supervisor.playWorker")
	assert.Contains(t, get("/debug/pprof/supervisor/goroutine?debug=1"), "supervisor.Run")

	for path, want := range map[string]string{
		"/debug/pprof/worker/quay.iox/heap":           "404 Not Found",
		"/debug/pprof/heap":                           "404 Not Found",
		"/debug/pprof/router/cmdline":                 "404 Not Found",
		"/debug/pprof/router/profile?seconds=forever": "400 Bad Request",
		"/debug/pprof/router/heap?debug=-1":           "400 Bad Request",
	} {
		_, err := ask("tcp", c.addr.Metrics, path)
		assert.EqualError(t, err, want, path)
	}
}

func TestNoProfilesUnlessWanted(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	for _, path := range []string{"", "supervisor/", "router/heap", "worker/quay.io/heap"} {
		_, err := ask("tcp", c.addr.Metrics, profile.Path+path)
		assert.EqualError(t, err, "404 Not Found", path)
	}
	// No process has them to give either.
	_, err := ask("unix", c.cfg.Socket("admin-1"), profile.Path+"heap")
	require.EqualError(t, err, "404 Not Found")
	_, pattern := http.DefaultServeMux.Handler(httptest.NewRequest(http.MethodGet, profile.Path, nil))
	assert.Empty(t, pattern, "nothing is registered by being linked")
}
