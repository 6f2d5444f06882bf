package supervisor

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts processes from one OS thread that lives until close.
//
// PR_SET_PDEATHSIG fires when the *thread* that started a process ends
// (prctl(2)), and Go's threads may come and go; so one is kept for the purpose.
type spawner struct {
	requests chan func()
	ended    sync.WaitGroup
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func())}
	s.ended.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for start := range s.requests {
			start()
		}
	})
	return s
}

// start starts cmd so that it ends with the supervisor, in a process group of
// its own: Ctrl-C on a terminal reaches the supervisor alone, which then drains.
func (s *spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	result := make(chan error)
	s.requests <- func() { result <- cmd.Start() }
	return <-result
}

// close must come after the last child has ended.
func (s *spawner) close() {
	close(s.requests)
	s.ended.Wait()
}
