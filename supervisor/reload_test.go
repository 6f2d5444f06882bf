package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// hup has the supervisor in this process reload.
func hup(t *testing.T) {
	t.Helper()
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGHUP))
}

func (c *cache) routes() string {
	return strings.TrimSpace(must(c.t)(c.router("/routes")))
}

func TestReloadAddsAndRemoves(t *testing.T) {
	c := run(t, testConfig(t, upstream("ghcr.io"), upstream("quay.io")))
	kept, router, leaves := c.pid("worker ghcr.io"), c.pid("router"), c.pid("worker quay.io")

	c.prepare(c.with(upstream("docker.io"), upstream("ghcr.io")), nil)
	hup(t)
	eventually(t, func() bool { return c.routes() == "docker.io ghcr.io" }, "the router follows")
	assert.Equal(t, "https://docker.io", must(t)(c.router("/via/docker.io/url")))
	assertGone(t, leaves)
	assert.Equal(t, kept, c.pid("worker ghcr.io"), "untouched")
	assert.Equal(t, router, c.pid("router"), "updated, not restarted")
	eventually(t, func() bool {
		_, err := os.Stat(c.cfg.Socket("worker-quay.io"))
		return errors.Is(err, os.ErrNotExist)
	}, "its socket is gone")
}

func TestRemovedWorkerFinishesAndItsSuccessorKeepsTheSocket(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	old := c.pid("worker quay.io")
	answer := make(chan string, 1)
	go func() {
		body, err := c.worker("quay.io", "/hold")
		require.NoError(t, err)
		answer <- body
	}()
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "holding")) == 1 }, "in flight")

	c.prepare(c.with(), nil)
	hup(t)
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "stopping")) == 1 }, "draining")
	c.prepare(c.with(upstream("quay.io")), nil)
	hup(t)
	eventually(t, func() bool { return c.routes() == "quay.io" }, "the router follows")
	fresh := must(t)(c.router("/via/quay.io/pid"))
	assert.NotEqual(t, itoa(old), fresh)
	assertAlive(t, old)
	require.NoError(t, syscall.Kill(old, syscall.SIGUSR1))
	assert.Equal(t, "released", <-answer)
	assertGone(t, old)
	assert.Equal(t, fresh, must(t)(c.router("/via/quay.io/pid")), "the path still leads to the new one")
}

func TestReloadReplacesBehindTheSameSocket(t *testing.T) {
	c := run(t, testConfig(t, upstream("ghcr.io"), upstream("quay.io")))
	old, kept := c.pid("worker quay.io"), c.pid("worker ghcr.io")
	answer := make(chan string, 1)
	go func() {
		body, err := c.router("/via/quay.io/hold")
		require.NoError(t, err)
		answer <- body
	}()
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "holding")) == 1 }, "in flight")

	changed := upstream("quay.io")
	changed.URL = "https://mirror.example.com"
	c.prepare(c.with(upstream("ghcr.io"), changed), nil)
	hup(t)
	eventually(t, func() bool {
		return must(t)(c.router("/via/quay.io/url")) == changed.URL
	}, "the new settings are in use, and nobody was refused meanwhile")
	eventually(t, func() bool { return len(c.log.find(t, "worker quay.io", "stopping")) == 1 }, "the old one drains")
	assertAlive(t, old)
	require.NoError(t, syscall.Kill(old, syscall.SIGUSR1))
	assert.Equal(t, "released", <-answer, "what was in flight was finished by the old process")
	assertGone(t, old)
	assert.Equal(t, kept, c.pid("worker ghcr.io"))
	assert.Contains(t, metricsOf(t, c), `registry_cache_process_restarts_total{process="worker quay.io"} 0`)
}

func TestReplacementThatFailsLeavesTheOldOne(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	old := must(t)(c.router("/via/quay.io/pid"))
	bad := upstream("quay.io")
	bad.URL = crashes
	c.prepare(c.with(bad), nil)
	hup(t)
	eventually(t, func() bool {
		return len(c.log.find(t, "worker quay.io", "the one with the earlier settings goes on")) > 1
	}, "tried again")
	assert.Equal(t, old, must(t)(c.router("/via/quay.io/pid")))
	assert.NotEmpty(t, c.log.find(t, "worker quay.io", "test: crashing"), "what it said on stderr")

	good := upstream("quay.io")
	good.URL = "https://good.example.com"
	c.prepare(c.with(good), nil)
	hup(t)
	eventually(t, func() bool { return must(t)(c.router("/via/quay.io/url")) == good.URL }, "replaced")
}

func TestBrokenReloadChangesNothing(t *testing.T) {
	c := run(t, testConfig(t, upstream("quay.io")))
	_, before := c.readyz()
	c.prepare(nil, multierror.Append(nil, errors.New("first mistake"), errors.New("second mistake")))
	hup(t)
	eventually(t, func() bool { return len(c.log.find(t, "", "the earlier one stays")) == 1 }, "reported")
	var told []string
	for _, e := range c.log.find(t, "", "configuration not reloaded") {
		told = append(told, e.Error)
	}
	assert.Equal(t, []string{"first mistake", "second mistake"}, told)
	_, after := c.readyz()
	assert.Empty(t, cmp.Diff(before, after))

	// A socket that can't be made is found out before anything changes, too.
	require.NoError(t, os.Mkdir(c.cfg.Socket("worker-docker.io"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(c.cfg.Socket("worker-docker.io"), "x"), nil, 0o600))
	c.prepare(c.with(upstream("docker.io"), upstream("ghcr.io")), nil)
	hup(t)
	eventually(t, func() bool { return len(c.log.find(t, "", "the earlier one stays")) == 2 }, "reported")
	_, after = c.readyz()
	assert.Empty(t, cmp.Diff(before, after))
}

func TestReloadOnFileChange(t *testing.T) {
	cfg := testConfig(t, upstream("quay.io"))
	file := filepath.Join(t.TempDir(), "pull-secret.json")
	cfg.Watch = []string{file}
	c := run(t, cfg)
	c.prepare(c.with(upstream("ghcr.io"), upstream("quay.io")), nil)
	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	eventually(t, func() bool { return c.routes() == "ghcr.io quay.io" }, "reloaded")

	// What is watched follows the configuration.
	second := filepath.Join(t.TempDir(), "config.yaml")
	next := c.with(upstream("quay.io"))
	next.Watch = []string{second}
	c.prepare(next, nil)
	require.NoError(t, os.WriteFile(file, []byte("{ }"), 0o600))
	eventually(t, func() bool { return c.routes() == "quay.io" }, "reloaded")
	c.prepare(c.with(), nil)
	require.NoError(t, os.WriteFile(second, []byte("x"), 0o600))
	eventually(t, func() bool { return c.routes() == "" }, "reloaded")
}

func TestNewNoticesAreLogged(t *testing.T) {
	c := run(t, testConfig(t))
	next := c.with()
	next.Notices = []string{"plain HTTP"}
	c.prepare(next, nil)
	hup(t)
	eventually(t, func() bool { return len(c.log.find(t, "", "plain HTTP")) == 1 }, "logged")
}

func TestCompare(t *testing.T) {
	a, b, c := upstream("a"), upstream("b"), upstream("c")
	b2 := b
	b2.TokenRealms = []string{"auth.b"}
	old := &config.Config{Upstreams: []config.Upstream{a, b}}

	got := compare(old, &config.Config{Upstreams: []config.Upstream{b2, c}})
	assert.Equal(t, []string{"c"}, names(got.added))
	assert.Equal(t, []string{"b"}, names(got.changed))
	assert.Equal(t, b2, got.changed[0].settings.(config.Worker).Upstream)
	assert.Equal(t, []string{"a"}, names(got.removed))
	assert.Equal(t, changes{}, compare(old, &config.Config{Upstreams: []config.Upstream{a, b}}))
	// Aliases are the router's.
	aliased := a
	aliased.Aliases = []string{"x"}
	assert.Equal(t, changes{}, compare(old, &config.Config{Upstreams: []config.Upstream{aliased, b}}))
	// What all workers share changes all of them.
	got = compare(old, &config.Config{Upstreams: []config.Upstream{a, b}, Offline: true})
	assert.Equal(t, []string{"a", "b"}, names(got.changed))

	// Another prefix is another worker.
	hosted := func(h *config.Hosted) *config.Config {
		return &config.Config{Upstreams: []config.Upstream{a, b}, Hosted: h}
	}
	got = compare(old, hosted(&config.Hosted{Prefix: "local"}))
	assert.Equal(t, []string{"local/"}, names(got.added))
	assert.Equal(t, []string{"hosted"}, got.added[0].argv)
	assert.Equal(t, changes{}, compare(hosted(&config.Hosted{Prefix: "local"}), hosted(&config.Hosted{Prefix: "local", Push: []string{"alice"}})),
		"who may push is the router's, too")
	got = compare(hosted(&config.Hosted{Prefix: "local"}), hosted(&config.Hosted{Prefix: "a"}))
	assert.Equal(t, []string{"a/"}, names(got.added))
	assert.Equal(t, []string{"local/"}, names(got.removed))
}
