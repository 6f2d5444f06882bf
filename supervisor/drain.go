package supervisor

import (
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// drain ends all processes and returns when they have ended. Those that still
// have requests in flight when cfg.Drain is over, or when the second of all
// signals arrives, are killed. received is how many there were so far: the one
// that started this may also have ended Run's context, and then it is yet to
// come through signals.
func (s *supervisor) drain(signals <-chan os.Signal, received int) {
	s.log.Info().Stringer("at_most", s.cfg.Drain).Msg("finishing what is in flight")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.stopAll()
	}()
	kill := sync.OnceFunc(func() { close(s.kill) })
	grace := time.NewTimer(s.cfg.Drain)
	defer grace.Stop()
	for {
		select {
		case <-ended:
			s.log.Info().Msg("stopped")
			return
		case <-grace.C:
			kill()
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				continue
			}
			if received++; received > 1 {
				s.log.Warn().Stringer("signal", sig).Msg("second signal, ending at once")
				kill()
			}
		}
	}
}

// stopAll ends the processes in the order in which they need each other: the
// router's requests in flight need the workers, and the logger reads what both
// did.
func (s *supervisor) stopAll() {
	stop(s.router)
	close(s.routerDone)
	stop(slices.Collect(maps.Values(s.workers))...)
	s.leaving.Wait()
	stop(s.logger)
	stop(s.cleaner)
}

// stop ends processes at the same time and waits for them.
func stop(processes ...*process) {
	for _, p := range processes {
		p.stop()
	}
	for _, p := range processes {
		<-p.done
	}
}
