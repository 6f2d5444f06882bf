package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"registrycache/status"
)

// exampleStatus has something of everything.
func exampleStatus() status.Document {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	return status.Document{
		Time: now, Version: "v1.2.3", Since: ago(3 * day), State: "degraded",
		Reasons: []string{"worker quay.io: the store is not written: no space left"},
		Upstreams: []status.Upstream{
			{
				Name: "docker.io", Path: "docker.io", State: status.Failing, Circuit: status.CircuitOpen, Credentials: status.Anonymous, Process: "ready",
				Failure:   &status.Failure{Time: ago(2 * time.Minute), Text: "no such host\x1b[2J"},
				RateLimit: &status.RateLimit{Limit: 100, Remaining: 76, Window: status.Seconds(6 * time.Hour), Time: ago(time.Hour)},
			},
			{Name: "quay.io", Path: "quay.io", State: status.Answering, Circuit: status.CircuitClosed, Credentials: status.Accepted, Process: "ready"},
		},
		Traffic: &status.Traffic{
			Since: time.Date(2026, 4, 1, 12, 0, 0, 0, time.Local),
			Upstreams: []status.UpstreamTraffic{
				{
					Path: "docker.io", Week: status.Tally{Requests: 10, Hits: 5, Saved: 1 << 20},
					Total: status.Tally{Requests: 1000, Hits: 999, Saved: 3 << 30},
				},
				{
					Path: "quay.io", Today: status.Tally{Requests: 4, Hits: 4, Saved: 5 << 20}, Week: status.Tally{Requests: 10, Hits: 10, Saved: 5 << 20},
					Total: status.Tally{Requests: 3000, Hits: 3000, Saved: 5 << 30},
				},
			},
			Busiest: []status.Image{{Name: "quay.io/podman/hello:latest", Pulls: 1200, First: ago(40 * day), Last: ago(time.Minute)}},
			Newest:  []status.Image{{Name: "docker.io/library/busybox:1", Pulls: 2, First: ago(3 * time.Hour), Last: ago(2 * time.Hour)}},
		},
		Store: &status.Store{
			Used: 6 << 30, Time: ago(time.Minute), Limit: 8 << 30, Start: 9 << 30, DiskFree: 100 << 30, DiskSize: 200 << 30, MinFree: 10 << 30,
			Quotas: []status.Quota{{Path: "quay.io", Used: 1 << 30, Limit: 2 << 30}}, Next: now.Add(12 * time.Minute),
			Last: &status.Clean{Time: ago(5 * time.Hour), Took: status.Seconds(1500 * time.Millisecond), Before: 9 << 30, After: 8 << 30, Images: 12, Blobs: 40},
		},
		Hosted: &status.Hosted{Prefix: "local", Repositories: 2, Tags: 3, Used: 7 << 20},
		Fills: []status.Fill{
			{Upstream: "quay.io", Repository: "quay.io/podman/hello", Digest: "sha256:4072349d599a4d1b0f5d", Size: 400 << 20, Have: 100 << 20, Rate: 10 << 20, Readers: 2},
			{Upstream: "quay.io", Repository: "quay.io/podman/hello", Digest: "sha256:0072349d599a4d1b0f5d", Size: -1, Have: 1 << 20},
		},
		Processes: []status.Process{
			{Name: "supervisor", State: "ready", PID: 1, Since: ago(3 * day), Memory: 20 << 20},
			{Name: "worker docker.io", State: "restarting", Restarts: 7},
		},
		Problems: []status.Problem{
			{Time: ago(3 * time.Second), Level: "error", Process: "worker docker.io", Text: "ended", Error: "signal: killed", Count: 1},
			{Time: ago(time.Hour), Level: "warn", Process: "router", Text: "one\ttwo", Count: 1200},
		},
	}
}

const exampleText = `registry-cache v1.2.3 is degraded, up 3 days
worker quay.io: the store is not written: no space left

UPSTREAM   STATE    CIRCUIT  CREDENTIALS  RATE LIMIT LEFT  LAST ERROR
docker.io  failing  open     anonymous    76 of 100 in 6h  2 minutes ago: no such host?[2J
quay.io    ok       closed   ok           -                -

PULLED FROM  HITS TODAY  SAVED    HITS IN 7 DAYS  SAVED    HITS SINCE 1 APR 2026  SAVED
docker.io    -           -        50 % of 10      1.0 MiB  99 % of 1,000          3.0 GiB
quay.io      100 % of 4  5.0 MiB  100 % of 10     5.0 MiB  100 % of 3,000         5.0 GiB
all          100 % of 4  5.0 MiB  75 % of 20      6.0 MiB  99 % of 4,000          8.0 GiB

BUSIEST IN 7 DAYS            PULLS  LAST PULL     FIRST PULL
quay.io/podman/hello:latest  1,200  1 minute ago  1 month ago

NEWEST                       PULLS  LAST PULL    FIRST PULL
docker.io/library/busybox:1  2      2 hours ago  3 hours ago

store   [###############-----] 6.0 GiB of 8.0 GiB, 75 %; cleaned above 9.0 GiB
disk    100 GiB free of 200 GiB; cleaned below 10 GiB
clean   due in 12 minutes; the last one that had to, 5 hours ago, removed 1.0 GiB in 12 images and took 1.5s
quota   1.0 GiB of 2.0 GiB for quay.io
pushed  7.0 MiB in 2 repositories with 3 tags, below local/

FETCHING              DIGEST        PROGRESS         SPEED     LEFT  READERS
quay.io/podman/hello  4072349d599a  25 % of 400 MiB  10 MiB/s  30s   2
quay.io/podman/hello  0072349d599a  1.0 MiB          0 B/s     -     0

PROCESS           STATE       PID  UP      RESTARTS  MEMORY
supervisor        ready       1    3 days  0         20 MiB
worker docker.io  restarting  -    -       7         -

LAST PROBLEMS  LEVEL  PROCESS           WHAT
3 seconds ago  error  worker docker.io  ended: signal: killed
1 hour ago     warn   router            one?two (1,200 times)
`

func TestStatusText(t *testing.T) {
	got := string(statusReport{Document: exampleStatus()}.text())
	require.Empty(t, cmp.Diff(exampleText, got))
}

// An upstream with a port has one name everywhere.
func TestStatusTextOfAnUpstreamWithAPort(t *testing.T) {
	d := exampleStatus()
	d.Upstreams[1].Name, d.Upstreams[1].Path = "registry.lab:5000", "registry.lab_5000"
	d.Traffic.Upstreams[1].Path, d.Store.Quotas[0].Path = "registry.lab_5000", "registry.lab_5000"
	got := string(statusReport{Document: d}.text())
	require.Equal(t, 3, strings.Count(got, "registry.lab:5000"))
	require.NotContains(t, got, "registry.lab_5000")
}

// A name of any length leaves the columns behind it where they can be seen.
func TestStatusTextOfALongName(t *testing.T) {
	d := exampleStatus()
	d.Traffic.Busiest[0].Name = "registry.example.com/" + strings.Repeat("team/", 40) + "app:1.2.3"
	got := string(statusReport{Document: d}.text())
	require.Contains(t, got, "\nregistry.example.com/team/team/team/team…team/team/team/team/team/team/app:1.2.3  1,200  ")
	require.Equal(t, strings.Repeat("é", maxImageName), shortened(strings.Repeat("é", maxImageName)))
	require.Equal(t, "quay.io/a@0123456789ab", shortened("quay.io/a@sha256:"+strings.Repeat("0123456789abcdef", 4)))
}

// What does not answer is missing, and what there is none of is not a table.
func TestStatusTextWithoutParts(t *testing.T) {
	d := status.Document{Time: time.Now(), Since: time.Now(), Version: "v1", State: "starting", Offline: true}
	require.Equal(t, `registry-cache v1 is starting and offline, up now

No upstream is configured: add a registry to the pull secret or CONFIG_FILE.

What was pulled is not known: the logger does not answer.

store  not known: the cleaner does not answer

PROCESS  STATE  PID  UP  RESTARTS  MEMORY
`, string(statusReport{Document: d}.text()))
}

func TestStatusOfTheStore(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		store status.Store
		want  []string
	}{
		"before it is measured": {status.Store{Limit: 1}, []string{"not measured yet", "not planned"}},
		"without a limit":       {status.Store{Time: now, Used: 1 << 20}, []string{"1.0 MiB, without a limit"}},
		"over the limit":        {status.Store{Time: now, Used: 3 << 20, Limit: 2 << 20, Start: 3 << 20}, []string{"[####################] 3.0 MiB of 2.0 MiB, 150 %"}},
		"next to nothing":       {status.Store{Time: now, Used: 1, Limit: 2 << 30}, []string{"[#-------------------] 1 B of 2.0 GiB, 0 %"}},
		"a clean runs":          {status.Store{Running: true}, []string{"under way"}},
		"a clean is late":       {status.Store{Next: now.Add(-time.Second)}, []string{"due now"}},
		"a clean that failed": {
			status.Store{Last: &status.Clean{Time: now.Add(-time.Minute), Missing: 1 << 20, Error: "read-only file system"}},
			[]string{"not planned; the last one that had to, 1 minute ago, removed 0 B in 0 images and took 0s; 1.0 MiB more should have gone; it failed: read-only file system"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := statusReport{Document: status.Document{Time: now, Store: &test.store}}
			text := strings.Join(r.store(), "\n")
			for _, want := range test.want {
				require.Contains(t, text, want)
			}
		})
	}
}

func TestStatusShowsTheLastProblemsOnly(t *testing.T) {
	r := statusReport{Document: status.Document{Problems: make([]status.Problem, 7)}}
	rows := r.problems()
	require.Len(t, rows, 7)
	require.Equal(t, "and 2 more, with --json", rows[6])
}

// statusServer is a cache that tells what tell returns.
func statusServer(t *testing.T, tell func() status.Document) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != status.Path {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(tell())
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestStatusAsksMetricsAddr(t *testing.T) {
	addr := statusServer(t, exampleStatus)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // is for upstreams
	t.Setenv("METRICS_ADDR", addr)
	out, err := execute(t, "status")
	require.NoError(t, err)
	require.Equal(t, exampleText, out)

	t.Setenv("METRICS_ADDR", "127.0.0.1:1")
	out, err = execute(t, "status", "--json", "--address", addr)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "\n"))
	var d status.Document
	require.NoError(t, json.Unmarshal([]byte(out), &d))
	require.Equal(t, "v1.2.3", d.Version)
}

func TestStatusJSONHasWhatThisProgramDoesNotKnow(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{\n \"state\": \"ok\",\n \"weather\": \"fine\"\n}\n"))
	}))
	defer server.Close()
	out, err := execute(t, "status", "--json", "--address", strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	require.Equal(t, `{"state":"ok","weather":"fine"}`+"\n", out)
}

func TestStatusExitCode(t *testing.T) {
	for state, serves := range map[string]bool{
		"ok": true, "degraded": true, "starting": false, "unavailable": false, "draining": false,
	} {
		addr := statusServer(t, func() status.Document { return status.Document{State: state} })
		out, err := execute(t, "status", "--address", addr)
		require.Contains(t, out, " is "+state)
		if serves {
			require.NoError(t, err, state)
		} else {
			require.ErrorIs(t, err, errReported, state)
		}
	}
}

func TestStatusSaysWhatWasTried(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer page.Close()
	for addr, want := range map[string]string{
		strings.TrimPrefix(gone.URL, "http://"):  "^no registry-cache answers at METRICS_ADDR, 127.0.0.1:.* connection refused; is it running\\? --address HOST:PORT asks another one$",
		strings.TrimPrefix(other.URL, "http://"): "^no registry-cache tells its state at 127.0.0.1:.* answers 404 Not Found; --address wants METRICS_ADDR, not where clients pull$",
		strings.TrimPrefix(page.URL, "http://"):  "what answers is something else; --address wants METRICS_ADDR",
		"cache.local":                            "^--address cache.local: write host:port, such as cache.local:9090$",
	} {
		_, err := execute(t, "status", "--address", addr)
		require.Error(t, err)
		require.Regexp(t, want, err.Error())
	}
}

// output is read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
	// after is called after each write, with all of it.
	after func(text string)
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(p)
	o.after(o.buf.String())
	return n, err
}

func TestStatusIsWatched(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var asked atomic.Int64
		addr := statusServer(t, func() status.Document {
			if asked.Add(1) == 1 {
				return status.Document{State: "starting"}
			}
			return status.Document{State: "ok"}
		})
		ctx, stop := context.WithCancel(t.Context())
		out := &output{after: func(text string) {
			if strings.Contains(text, "ok") {
				stop()
			}
		}}
		err := watchStatus(ctx, statusFlags{address: addr, json: asJSON}, out, out, time.Millisecond)
		require.NoError(t, err, "as the last one")
		require.NotContains(t, out.buf.String(), "\x1b", "no terminal")
		if asJSON {
			lines := strings.SplitAfter(strings.TrimSpace(out.buf.String()), "\n")
			require.Len(t, lines, 2)
			require.True(t, json.Valid([]byte(lines[0])))
		} else {
			require.Regexp(t, `(?s)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\nregistry-cache  is starting, .*\n\n\d{4}-.*is ok`, out.buf.String())
		}
		stop()
	}
}

// A cache that is restarted is found again.
func TestWatchGoesOnWithoutAnswer(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		ctx, stop := context.WithCancel(t.Context())
		out := &output{after: func(text string) {
			if strings.Count(text, "connection refused") == 2 {
				stop()
			}
		}}
		err := watchStatus(ctx, statusFlags{address: "127.0.0.1:1", json: asJSON}, out, out, time.Millisecond)
		require.ErrorIs(t, err, errReported)
		stop()
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	columns, rows := 10, 3
	s := screen{out: &out, size: func() (int, int) { return columns, rows }}
	s.open()
	require.NoError(t, s.draw([]byte("short\nexactly 10\nlonger than 10\n")))
	require.NoError(t, s.draw([]byte("one\n")))
	rows = 2
	require.NoError(t, s.draw([]byte("1\n2\n3\n4\n")))
	s.close()
	require.Equal(t, "\x1b[?1049h\x1b[?25l"+
		"\x1b[H\x1b[Kshort\r\n\x1b[Kexactly 10\r\n\x1b[Klonger th…"+
		"\x1b[H\x1b[Kone\r\n\x1b[J"+
		"\x1b[H\x1b[K1\r\n\x1b[Kand 3 lin…"+
		"\x1b[?25h\x1b[?1049l", out.String())
}
