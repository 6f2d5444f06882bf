package supervisor

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/status"
)

// document returns the state of the cache as METRICS_ADDR gives it.
func (c *cache) document() (d status.Document) {
	answer := must(c.t)(ask("tcp", c.addr.Metrics, status.Path))
	require.NoError(c.t, json.Unmarshal([]byte(answer), &d), "%s", answer)
	return d
}

// documentWith waits for one that is as it should be.
func (c *cache) documentWith(what string, cond func(d status.Document) bool) (d status.Document) {
	c.t.Helper()
	eventually(c.t, func() bool { d = c.document(); return cond(d) }, what)
	return d
}

func TestDocument(t *testing.T) {
	quay, hub := upstream("quay.io"), upstream("a.docker.io")
	quay.Aliases = []string{"q"}
	began := time.Now()
	c := run(t, testConfig(t, hub, quay))
	d := c.documentWith("ok", func(d status.Document) bool { return d.State == "ok" })
	assert.Equal(t, "v1.2.3", d.Version)
	assert.WithinRange(t, d.Since, began, d.Time)
	assert.Empty(t, d.Reasons)
	assert.False(t, d.Offline)
	assert.Equal(t, []status.Upstream{
		{Name: "a.docker.io", Path: "a.docker.io", State: "ok", Circuit: "closed", Credentials: "ok", Process: "ready"},
		{Name: "quay.io", Path: "quay.io", Aliases: []string{"q"}, State: "ok", Circuit: "closed", Credentials: "ok", Process: "ready"},
	}, d.Upstreams)
	assert.Equal(t, time.Unix(1, 0).UTC(), d.Traffic.Since)
	assert.EqualValues(t, 7, d.Store.Used)
	assert.Nil(t, d.Hosted)
	require.Len(t, d.Fills, 2)
	assert.Equal(t, "quay.io", d.Fills[0].Upstream, "oldest first")
	assert.NotNil(t, d.Problems)

	var names []string
	for _, p := range d.Processes {
		names = append(names, p.Name)
		assert.Equal(t, "ready", p.State, p.Name)
		assert.NotZero(t, p.PID)
		assert.WithinRange(t, p.Since, began.Add(-time.Second), time.Now())
		assert.Greater(t, p.Memory, int64(1<<20))
	}
	assert.Equal(t, []string{"supervisor", "router", "worker a.docker.io", "worker quay.io", "logger", "cleaner"}, names)
	assert.Equal(t, os.Getpid(), d.Processes[0].PID)
	assert.Equal(t, c.pid("router"), d.Processes[1].PID)
}

func TestDocumentOnTheSocket(t *testing.T) {
	cfg := testConfig(t, upstream("quay.io"))
	c := run(t, cfg)
	socket := cfg.Router().StatusSocket
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	var d status.Document
	require.NoError(t, json.Unmarshal([]byte(must(t)(ask("unix", socket, status.Path))), &d))
	assert.Equal(t, "v1.2.3", d.Version)
	for _, path := range []string{"/metrics", "/healthz", "/"} {
		_, err := ask("unix", socket, path)
		assert.EqualError(t, err, "404 Not Found", path)
	}
	c.stop()
	require.NoError(t, c.ended())
	assert.NoFileExists(t, socket)
}

func TestDocumentShowsWhatIsWrong(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	must(t)(c.worker("quay.io", "/warn"))
	must(t)(c.worker("quay.io", "/warn"))
	must(t)(c.worker("quay.io", "/full"))
	bad := upstream("bad.example.com")
	bad.URL = crashes
	c.prepare(c.with(bad, upstream("quay.io")), nil)
	hup(t)
	d := c.documentWith("the worker is down", func(d status.Document) bool {
		return len(d.Upstreams) == 2 && d.Upstreams[0].State == status.Failing && len(d.Problems) == 3
	})
	assert.Equal(t, "degraded", d.State)
	assert.Equal(t, []string{"worker quay.io: the store is not written: no space left"}, d.Reasons)
	_, ready := c.readyz()
	assert.Equal(t, ready.Reasons, d.Reasons)
	down := d.Upstreams[0]
	assert.Equal(t, "bad.example.com", down.Name)
	assert.Equal(t, status.Anonymous, down.Credentials)
	assert.Contains(t, []string{"restarting", "starting"}, down.Process)
	assert.Regexp(t, `^its worker is down \((re)?starting\) since 2`, down.Failure.Text)
	assert.WithinRange(t, down.Failure.Time, d.Since, d.Time)
	assert.Equal(t, status.Answering, d.Upstreams[1].State)
	assert.Positive(t, d.Processes[2].Restarts, "%v", d.Processes[2])

	for _, p := range d.Problems {
		switch p.Process {
		case "worker quay.io":
			assert.Equal(t, status.Problem{
				Time: p.Time, Level: "warn", Process: "worker quay.io", Text: "the upstream fails", Error: "no route to host", Count: 2,
			}, p)
		case "worker bad.example.com":
			assert.Contains(t, []string{"error", "warn"}, p.Level)
			assert.NotZero(t, p.Time)
		default:
			t.Errorf("unexpected: %v", p)
		}
	}

	// One that goes leaves no trace but in the log.
	c.prepare(c.with(upstream("quay.io")), nil)
	hup(t)
	c.documentWith("gone", func(d status.Document) bool { return len(d.Upstreams) == 1 && len(d.Processes) == 5 })
}

// A process that hangs costs its own part and a second.
func TestDocumentWithoutAProcessThatHangs(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io"), upstream("ghcr.io")))
	pid := c.pid("worker quay.io")
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	d := c.documentWith("failing", func(d status.Document) bool { return d.Upstreams[0].State == status.Failing })
	assert.Equal(t, "its worker does not say how it is", d.Upstreams[0].Failure.Text)
	assert.Equal(t, "ready", d.Upstreams[0].Process)
	assert.Equal(t, status.Answering, d.Upstreams[1].State)
	assert.NotZero(t, d.Processes[3].Memory)
}

func TestUpstreamWhoseWorkerTellsNothing(t *testing.T) {
	down := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	withPassword := config.Upstream{Name: "quay.io", Path: "quay.io", Credentials: []config.Credential{{Username: "robot"}}}
	for name, test := range map[string]struct {
		cfg    config.Config
		u      config.Upstream
		worker Status
		part   *status.Part
		want   status.Upstream
	}{
		"at the start": {
			u: withPassword, worker: Status{State: Starting, Down: down},
			want: status.Upstream{State: "untried", Credentials: "unused", Process: "starting"},
		},
		"nothing to tell": {
			u: withPassword, worker: Status{State: Ready}, part: &status.Part{},
			want: status.Upstream{State: "untried", Credentials: "unused", Process: "ready"},
		},
		"without credentials, offline": {
			cfg: config.Config{Offline: true}, worker: Status{State: Ready}, part: &status.Part{},
			want: status.Upstream{State: "offline", Credentials: "anonymous", Process: "ready"},
		},
		"between two starts": {
			u: withPassword, worker: Status{State: Restarting, Down: down, Restarts: 1},
			want: status.Upstream{State: "failing", Credentials: "unused", Process: "restarting", Failure: &status.Failure{
				Time: down, Text: "its worker is down (restarting) since 2026-01-02T03:04:05Z",
			}},
		},
		"started again": {
			worker: Status{State: Starting, Down: down, Restarts: 3},
			want: status.Upstream{State: "failing", Credentials: "anonymous", Process: "starting", Failure: &status.Failure{
				Time: down, Text: "its worker is down (starting) since 2026-01-02T03:04:05Z",
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Name, test.want.Path, test.want.Circuit = test.u.Name, test.u.Path, status.CircuitClosed
			assert.Equal(t, test.want, upstreamOf(&test.cfg, test.u, test.worker, test.part))
		})
	}
}

// asked is a reporter of one process that the test plays.
func asked(part func(context.Context) (status.Part, error)) *reporter {
	p := newProcess(&process{name: "router"})
	ready := make(chan struct{})
	close(ready)
	p.show(Ready, &instance{
		pid: os.Getpid(), ready: ready, part: part,
		health: func(context.Context) (string, error) { return "", nil },
	})
	c := &condition{list: func() []*process { return []*process{p} }, router: p}
	c.set(phaseRunning)
	return newReporter(&reporter{
		condition: c, problems: &problems{},
		settings: func() *config.Config { return &config.Config{} },
		worker:   func(config.Upstream) *process { return nil },
	})
}

func TestManyViewersAreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var questions atomic.Int64
		r := asked(func(context.Context) (status.Part, error) {
			time.Sleep(300 * time.Millisecond) // on the bubble's clock
			return status.Part{Store: &status.Store{Used: questions.Add(1)}}, nil
		})
		var viewers sync.WaitGroup
		for range 20 {
			viewers.Go(func() {
				for range 30 {
					document, err := r.latest(t.Context())
					assert.NoError(t, err)
					assert.Contains(t, string(document), `"used":`)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		viewers.Wait()
		// 600 views take 3 s or more, with a question each 800 ms.
		assert.Positive(t, questions.Load())
		assert.LessOrEqual(t, questions.Load(), int64(8))
	})
}

func TestViewerWhoLeavesWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		r := asked(func(ctx context.Context) (status.Part, error) {
			select {
			case <-answer:
				return status.Part{Store: &status.Store{Used: 7}}, nil
			case <-ctx.Done():
				return status.Part{}, ctx.Err()
			}
		})
		leave, left := context.WithCancel(t.Context())
		var first []byte
		var viewers sync.WaitGroup
		viewers.Go(func() { first, _ = r.latest(leave) })
		synctest.Wait()
		viewers.Go(func() {
			_, err := r.latest(leave)
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		left()
		synctest.Wait()
		close(answer)
		viewers.Wait()
		assert.Contains(t, string(first), `"used":7`, "it is asked for others, too")
	})
}

func TestDocumentDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := asked(func(ctx context.Context) (status.Part, error) {
			<-ctx.Done()
			return status.Part{}, ctx.Err()
		})
		began := time.Now()
		d := r.report(t.Context())
		assert.Equal(t, askTimeout, time.Since(began))
		assert.Equal(t, "ok", d.State)
		assert.Nil(t, d.Store)
	})
}

func TestDocumentIsNotKeptByOthers(t *testing.T) {
	c := run(t, testConfig(t))
	resp, err := http.Get("http://" + c.addr.Metrics + status.Path)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	d := c.document()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	for _, list := range []string{"upstreams", "fills", "problems"} {
		assert.True(t, strings.Contains(string(raw), `"`+list+`":[`), "a list, also when it is empty: %s", list)
	}
}
