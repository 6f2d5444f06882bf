package supervisor

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func metricsOf(t *testing.T, c *cache) string {
	t.Helper()
	resp, err := http.Get("http://" + c.addr.Metrics + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func TestMetricsAreMerged(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	text := metricsOf(t, c)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	_, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	for _, process := range []string{"supervisor", "router", "worker quay.io", "logger", "cleaner"} {
		assert.Contains(t, text, `go_goroutines{process="`+process+`"}`)
		assert.Contains(t, text, `process_open_fds{process="`+process+`"}`)
	}
	assert.Equal(t, 1, strings.Count(text, "# TYPE go_goroutines "))
	assert.Contains(t, text, `registry_cache_process_up{process="worker quay.io"} 1`)
	assert.Contains(t, text, `registry_cache_process_restarts_total{process="router"} 0`)

	answer, err := ask("tcp", c.addr.Metrics, "/healthz")
	require.NoError(t, err)
	assert.Equal(t, "ok\n", answer)
}

func TestMetricsWithoutADeadChild(t *testing.T) {
	bad := upstream("bad.example.com")
	c := run(t, testConfig(t, upstream("quay.io")))
	bad.URL = crashes
	c.prepare(c.with(upstream("quay.io"), bad), nil)
	hup(t)
	eventually(t, func() bool { return len(c.log.find(t, "worker bad.example.com", "ended")) > 0 }, "crashed")
	text := metricsOf(t, c)
	assert.Contains(t, text, `registry_cache_process_up{process="worker bad.example.com"} 0`)
	assert.Contains(t, text, `registry_cache_process_scrape_failures_total{process="worker bad.example.com"} 1`)
	assert.Contains(t, text, `go_goroutines{process="worker quay.io"}`)
	assert.NotContains(t, text, `go_goroutines{process="worker bad.example.com"}`)
}

func TestReadyz(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	code, body := c.readyz()
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "ok", body.Status)

	// A worker that is down leaves the others to be served.
	bad := upstream("bad.example.com")
	bad.URL = neverReady
	c.prepare(c.with(bad, upstream("quay.io")), nil)
	hup(t)
	eventually(t, func() bool { _, body = c.readyz(); return body.Status == "degraded" }, "degraded")
	code, body = c.readyz()
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, Starting, body.Processes[1].State)
	assert.Equal(t, "worker bad.example.com", body.Processes[1].Name)
	c.prepare(c.with(upstream("quay.io")), nil)
	hup(t)
	eventually(t, func() bool { _, body = c.readyz(); return body.Status == "ok" }, "ok again")
}

// A store that can't be written is no reason to send nobody here, but one to
// tell the operator.
func TestReadyzSaysThatTheStoreIsNotWritten(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io"), upstream("ghcr.io")))
	_, err := c.worker("ghcr.io", "/full")
	require.NoError(t, err)
	eventually(t, func() bool { _, body := c.readyz(); return body.Reasons != nil }, "a reason")
	code, body := c.readyz()
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "degraded", body.Status)
	assert.Equal(t, []string{"worker ghcr.io: the store is not written: no space left"}, body.Reasons)
	_, err = c.worker("ghcr.io", "/empty")
	require.NoError(t, err)
	_, body = c.readyz()
	assert.Equal(t, "ok", body.Status)
	assert.Empty(t, body.Reasons)
}

// fake is a process that does nothing, in a state.
func fake(name string, state State) *process {
	p := newProcess(&process{name: name})
	p.show(state, nil)
	return p
}

func TestReadyzStates(t *testing.T) {
	for name, test := range map[string]struct {
		phase          phase
		router, worker State
		code           int
		status         string
	}{
		"at the start":           {phaseStarting, Ready, Starting, 503, "starting"},
		"all is well":            {phaseRunning, Ready, Ready, 200, "ok"},
		"a worker is down":       {phaseRunning, Ready, Restarting, 200, "degraded"},
		"a worker is coming":     {phaseRunning, Ready, Starting, 200, "degraded"},
		"the router is down":     {phaseRunning, Restarting, Ready, 503, "unavailable"},
		"the router is starting": {phaseRunning, Starting, Ready, 503, "unavailable"},
		"at the end":             {phaseDraining, Ready, Ready, 503, "draining"},
	} {
		t.Run(name, func(t *testing.T) {
			router := fake("router", test.router)
			c := &condition{router: router, list: func() []*process {
				return []*process{router, fake("worker quay.io", test.worker)}
			}}
			c.set(test.phase)
			w := httptest.NewRecorder()
			admin{c}.readyz(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			assert.Equal(t, test.code, w.Code)
			var body readiness
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			assert.Equal(t, test.status, body.Status)
			assert.Equal(t, []Status{{Name: "router", State: test.router}, {Name: "worker quay.io", State: test.worker}}, body.Processes)
		})
	}
}
