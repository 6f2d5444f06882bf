package router

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// scriptedController admits the password "right", and notes each question.
type scriptedController struct {
	asked []string
	err   error // instead of a verdict
}

type basicChallenge struct{ error }

func (basicChallenge) SetHeaders(*http.Request, http.ResponseWriter) {}

func (c *scriptedController) Authorized(r *http.Request, _ ...auth.Access) (*auth.Grant, error) {
	user, password, ok := r.BasicAuth()
	if !ok || user == "" {
		return nil, basicChallenge{errors.New("no credential")}
	}
	c.asked = append(c.asked, user)
	switch {
	case c.err != nil:
		return nil, c.err
	case password == "right":
		return &auth.Grant{User: auth.UserInfo{Name: user}}, nil
	}
	return nil, basicChallenge{errors.New("wrong")}
}

func newScriptedGate(t *testing.T) (*basicGate, *scriptedController) {
	t.Helper()
	c := &scriptedController{}
	g, err := newBasicGate(config.ClientAuth{Type: config.AuthHtpasswd}, func(string, map[string]any) (auth.AccessController, error) { return c, nil })
	require.NoError(t, err)
	t.Cleanup(g.close)
	return g, c
}

func login(ctx context.Context, user, password string) *http.Request {
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://cache/v2/", nil)
	r.SetBasicAuth(user, password)
	return r
}

func TestVerdictsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := newScriptedGate(t)
		try := func() {
			user, err := g.admit(login(t.Context(), "ann", "right"), nil)
			require.NoError(t, err)
			require.Equal(t, "ann", user)
			user, err = g.admit(login(t.Context(), "eve", "wrong"), nil)
			require.ErrorAs(t, err, new(auth.Challenge))
			require.Empty(t, user)
		}
		try()
		time.Sleep(rememberFor - time.Second)
		try()
		assert.Equal(t, []string{"ann", "eve"}, c.asked)
		time.Sleep(time.Second)
		try()
		assert.Equal(t, []string{"ann", "eve", "ann", "eve"}, c.asked)
	})
}

func TestFailureToCheckIsNoVerdict(t *testing.T) {
	g, c := newScriptedGate(t)
	c.err = errors.New("disk on fire")
	_, err := g.admit(login(t.Context(), "ann", "right"), nil)
	require.ErrorIs(t, err, c.err)
	c.err = nil
	_, err = g.admit(login(t.Context(), "ann", "right"), nil)
	require.NoError(t, err, "and is not remembered")
}

func TestClientThatLeavesTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := newScriptedGate(t)
		for range cap(g.slots) {
			g.slots <- struct{}{} // others are being checked
		}
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := g.admit(login(ctx, "ann", "right"), nil); first <- err }()
		synctest.Wait()
		go func() { _, err := g.admit(login(t.Context(), "ann", "right"), nil); second <- err }()
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-first, errClientLeft)
		<-g.slots
		require.NoError(t, <-second)
		assert.Equal(t, []string{"ann"}, c.asked)
	})
}

func TestClosedGateSendsToTheNext(t *testing.T) {
	g, _ := newScriptedGate(t)
	_, err := g.admit(login(t.Context(), "ann", "right"), nil)
	require.NoError(t, err)
	g.close()
	_, err = g.admit(login(t.Context(), "bob", "right"), nil)
	require.ErrorIs(t, err, errGateClosed)
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(3, time.Minute)
	now := time.Now()
	for i := range byte(5) {
		m.add(identity{i}, "ann", now)
		m.add(identity{i}, "bob", now) // again changes nothing
	}
	has := func(i byte, now time.Time) bool {
		user, ok := m.recall(identity{i}, now)
		return ok && user == "ann"
	}
	assert.False(t, has(1, now))
	for i := byte(2); i < 5; i++ {
		assert.True(t, has(i, now))
	}
	later := now.Add(time.Minute)
	assert.False(t, has(4, later))
	m.add(identity{9}, "ann", later)
	assert.True(t, has(9, later))
	assert.Len(t, m.known, 1, "what expired is dropped")
	assert.Len(t, m.order, 1)
}

func TestIdentitiesDiffer(t *testing.T) {
	g, _ := newScriptedGate(t)
	other, _ := newScriptedGate(t)
	assert.Equal(t, g.identify("a"), g.identify("a"))
	assert.NotEqual(t, g.identify("a"), g.identify("b"))
	assert.NotEqual(t, g.identify("a"), other.identify("a"), "each key is random")
}

func TestSnapshots(t *testing.T) {
	for name, create := range map[string]func(string) (*snapshot, error){
		"memory": memorySnapshot, "disk": diskSnapshot, "either": newSnapshot,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := create("ann:hash\n")
			require.NoError(t, err)
			content, err := os.ReadFile(s.path)
			require.NoError(t, err)
			assert.Equal(t, "ann:hash\n", string(content))
			path, err := filepath.EvalSymlinks(s.path)
			if err == nil {
				info, err := os.Stat(path)
				require.NoError(t, err)
				assert.Zero(t, info.Mode().Perm()&0o077)
			}
			s.remove()
			if name == "disk" {
				assert.NoFileExists(t, s.path)
			}
		})
	}
	assert.Empty(t, openSnapshots(t))
}

// openSnapshots lists the copies in memory that this process holds.
func openSnapshots(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var open []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.Contains(target, "memfd:snapshot") {
			open = append(open, fmt.Sprintf("%s -> %s", e.Name(), target))
		}
	}
	return open
}
