package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPauses(t *testing.T) {
	p := newPauses()
	ms := time.Millisecond
	for _, want := range []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30 * time.Second, 30 * time.Second} {
		assert.Equal(t, want, p.next(0))
	}
	assert.Equal(t, 30*time.Second, p.next(healthy-1))
	assert.Equal(t, 100*ms, p.next(healthy))
	assert.Equal(t, 200*ms, p.next(0))
}

// played is a process that a test plays.
type played struct {
	settings      any
	ready, exited chan struct{}
	hung          atomic.Bool

	mu       sync.Mutex
	received []os.Signal
	updates  []any
}

func (c *played) exit() { close(c.exited) }

func (c *played) signals() []os.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.received)
}

func (c *played) sent() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.updates)
}

func (c *played) instance(pid int) *instance {
	return &instance{
		pid: pid, ready: c.ready, exited: c.exited,
		state: func() string { return "exit status 1" },
		signal: func(sig os.Signal) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.received = append(c.received, sig)
			if sig == os.Kill {
				c.exit()
			}
		},
		send: func(v any) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.updates = append(c.updates, v)
		},
		health: func(ctx context.Context) (string, error) {
			if c.hung.Load() {
				<-ctx.Done()
			}
			return "", ctx.Err()
		},
		gather: func(context.Context) ([]*dto.MetricFamily, error) { return nil, nil },
	}
}

// stage runs a process whose instances the test plays. It must be made in a
// synctest bubble.
type stage struct {
	*process
	t       *testing.T
	began   time.Time
	killAll chan struct{}

	actors  sync.Mutex
	cast    []*played
	at      []time.Duration // when each was started, or failed to
	failing error
}

func newStage(t *testing.T, how takeover) *stage {
	nothing, err := openNothing()
	require.NoError(t, err)
	s := &stage{t: t, began: time.Now(), killAll: make(chan struct{})}
	s.process = newProcess(&process{
		name: "worker", takeover: how, settings: "first", socket: nothing, log: zerolog.Nop(),
		grace: 30 * time.Second, kill: s.killAll, vigil: usualVigil, launch: s.play,
	})
	go s.run()
	synctest.Wait()
	return s
}

func (s *stage) play(settings any) (*instance, error) {
	s.actors.Lock()
	defer s.actors.Unlock()
	s.at = append(s.at, time.Since(s.began))
	if s.failing != nil {
		return nil, s.failing
	}
	c := &played{settings: settings, ready: make(chan struct{}), exited: make(chan struct{})}
	s.cast = append(s.cast, c)
	return c.instance(len(s.cast)), nil
}

// fail has processes fail to start with err.
func (s *stage) fail(err error) {
	s.actors.Lock()
	defer s.actors.Unlock()
	s.failing = err
}

func (s *stage) children() []*played {
	s.actors.Lock()
	defer s.actors.Unlock()
	return slices.Clone(s.cast)
}

func (s *stage) newest() *played {
	all := s.children()
	return all[len(all)-1]
}

func (s *stage) starts() []time.Duration {
	s.actors.Lock()
	defer s.actors.Unlock()
	return slices.Clone(s.at)
}

// becomeReady has the newest child say that it is ready.
func (s *stage) becomeReady() *played {
	c := s.newest()
	close(c.ready)
	synctest.Wait()
	return c
}

// dieAndWait checks that c, once dead, is followed by another after pause.
func (s *stage) dieAndWait(c *played, pause time.Duration) {
	before := len(s.starts())
	c.exit()
	synctest.Wait()
	assert.Len(s.t, s.starts(), before)
	time.Sleep(pause)
	synctest.Wait()
	assert.Len(s.t, s.starts(), before+1, "started again after %s", pause)
}

// end stops the process and checks that no child is left.
func (s *stage) end() {
	s.stop()
	synctest.Wait()
	for _, c := range s.children() {
		if !isClosed(c.exited) {
			c.exit()
		}
	}
	<-s.done
}

func TestProcessRestartsWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		s.dieAndWait(s.children()[0], 100*time.Millisecond)
		s.dieAndWait(s.children()[1], 200*time.Millisecond)
		s.dieAndWait(s.becomeReady(), 400*time.Millisecond)
		assert.Equal(t, Status{Name: "worker", State: Starting, PID: 4, Restarts: 3, Down: s.began.Add(300 * time.Millisecond)}, s.report(),
			"down since it was ready last")

		c := s.becomeReady()
		assert.Equal(t, Ready, s.report().State)
		time.Sleep(healthy)
		s.dieAndWait(c, 100*time.Millisecond)
		s.end()
	})
}

func TestProcessThatCantBeStartedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		s.fail(errors.New("no more processes"))
		s.dieAndWait(s.children()[0], 100*time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		s.fail(nil)
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms}, s.starts())
		s.end()
	})
}

func TestProcessThatHangsIsKilledAndStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		c := s.becomeReady()
		time.Sleep(time.Hour + usualVigil.every/2) // between two questions
		assert.Equal(t, Ready, s.report().State)
		c.hung.Store(true)
		time.Sleep(usualVigil.every + usualVigil.patience)
		synctest.Wait()
		assert.Equal(t, Silent, s.report().State)
		time.Sleep(usualVigil.every + usualVigil.patience)
		synctest.Wait()
		assert.Empty(t, c.signals(), "it may come back")
		time.Sleep(usualVigil.every/2 + usualVigil.patience)
		synctest.Wait()
		assert.Equal(t, []os.Signal{os.Kill}, c.signals())
		assert.Equal(t, Restarting, s.report().State)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.Len(t, s.children(), 2)
		s.becomeReady()
		assert.Equal(t, Status{Name: "worker", State: Ready, PID: 2, Restarts: 1}, s.report())
		time.Sleep(time.Hour)
		s.end()
	})
}

func TestProcessThatIsSilentForAWhileGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		c := s.becomeReady()
		for range 3 { // twice in a row is no reason, however often
			c.hung.Store(true)
			time.Sleep(2 * (usualVigil.every + usualVigil.patience))
			synctest.Wait()
			assert.Equal(t, Silent, s.report().State)
			c.hung.Store(false)
			time.Sleep(usualVigil.every)
			synctest.Wait()
			assert.Equal(t, Ready, s.report().State)
		}
		assert.Empty(t, c.signals())
		s.end()
	})
}

// A process that is replaced is not asked any more, nor is its silence counted.
func TestSilenceOfTheReplacedCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		s.becomeReady().hung.Store(true)
		time.Sleep(usualVigil.every + usualVigil.patience)
		s.set("second")
		synctest.Wait()
		s.becomeReady()
		assert.Equal(t, Status{Name: "worker", State: Ready, PID: 2}, s.report())
		time.Sleep(time.Hour)
		assert.Equal(t, Status{Name: "worker", State: Ready, PID: 2}, s.report())
		s.end()
	})
}

func TestReplacementWaitsUntilReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		old := s.becomeReady()
		s.set("second")
		synctest.Wait()
		require.Len(t, s.children(), 2)
		assert.Equal(t, "second", s.children()[1].settings)
		assert.Empty(t, old.signals(), "the old one goes on until the new one is ready")
		assert.Equal(t, Status{Name: "worker", State: Ready, PID: 1}, s.report())

		s.becomeReady()
		assert.Equal(t, []os.Signal{syscall.SIGTERM}, old.signals())
		assert.Equal(t, Status{Name: "worker", State: Ready, PID: 2}, s.report())
		// The old one is still busy when its grace is over.
		time.Sleep(30 * time.Second)
		synctest.Wait()
		assert.Equal(t, []os.Signal{syscall.SIGTERM, os.Kill}, old.signals())
		s.end()
		assert.Zero(t, s.report().Restarts)
	})
}

func TestReplacementThatIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		old := s.becomeReady()
		s.set("second")
		s.set("third")
		synctest.Wait()
		require.Len(t, s.children(), 3)
		assert.Equal(t, []os.Signal{os.Kill}, s.children()[1].signals(), "nothing is in flight in one that was never ready")
		s.becomeReady()
		assert.Equal(t, "third", s.children()[2].settings)
		assert.Equal(t, []os.Signal{syscall.SIGTERM}, old.signals())
		s.end()
	})
}

func TestOldDiesWhileItsReplacementStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		old := s.becomeReady()
		s.set("second")
		synctest.Wait()
		old.exit()
		synctest.Wait()
		assert.Equal(t, Status{Name: "worker", State: Starting, PID: 2, Down: s.began}, s.report())
		time.Sleep(time.Minute)
		assert.Len(t, s.children(), 2, "the one that is starting is enough")
		s.end()
	})
}

func TestNewSettingsEndThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		for pause := 100 * time.Millisecond; pause < 10*time.Second; pause *= 2 {
			s.dieAndWait(s.newest(), pause)
		}
		c := s.newest()
		c.exit()
		synctest.Wait()
		s.set("second")
		synctest.Wait()
		last := s.newest()
		assert.Equal(t, "second", last.settings, "started at once")
		s.dieAndWait(last, 100*time.Millisecond)
		s.end()
	})
}

func TestUpdateReachesTheRunningAndTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, update)
		c := s.becomeReady()
		s.set("second")
		synctest.Wait()
		assert.Equal(t, []any{"second"}, c.sent())
		assert.Len(t, s.children(), 1)
		s.dieAndWait(c, 100*time.Millisecond)
		assert.Equal(t, "second", s.children()[1].settings)
		s.end()
	})
}

func TestStopDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		s.children()[0].exit()
		synctest.Wait()
		s.end()
		time.Sleep(time.Minute)
		assert.Len(t, s.children(), 1)
		s.set("ignored, but doesn't hang")
	})
}

func TestKillEndsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, replace)
		c := s.becomeReady()
		s.stop()
		synctest.Wait()
		assert.Equal(t, []os.Signal{syscall.SIGTERM}, c.signals())
		close(s.killAll)
		<-s.done
		assert.Equal(t, []os.Signal{syscall.SIGTERM, os.Kill}, c.signals())
	})
}

func TestWaitForAllToBeUpIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, never, removed := fake("quick", Ready), fake("never", Starting), fake("removed", Starting)
		close(quick.up)
		close(removed.done)
		began := time.Now()
		assert.Equal(t, []*process{never}, <-whenUp([]*process{quick, never, removed}, time.Minute))
		assert.Equal(t, time.Minute, time.Since(began))
		close(never.up)
		assert.Empty(t, <-whenUp([]*process{quick, never, removed}, time.Minute))
		assert.Equal(t, time.Minute, time.Since(began), "no longer than it takes")
	})
}
