package warm

import (
	"context"
	"sync"
	"time"
)

// pool runs jobs in the order in which they came, a bounded number at once. A
// job that waits for its next try makes room, so that what fails holds up
// nothing else.
type pool struct {
	jobs sync.WaitGroup

	mu   sync.Mutex
	room int
	// queue are those to be let in, each once there is room.
	queue []func()
}

func newPool(room int) *pool { return &pool{room: room} }

// add has a job run once there is room.
func (p *pool) add(job func()) {
	p.jobs.Add(1)
	p.enter(func() {
		go func() {
			defer p.jobs.Done()
			defer p.leave()
			job()
		}()
	})
}

// feed is add that returns when the job has begun: so many more jobs than there
// is room for need not lie in memory, and those that they add do not come last.
func (p *pool) feed(job func()) {
	begun := make(chan struct{})
	p.add(func() {
		close(begun)
		job()
	})
	<-begun
}

// wait returns when all jobs have ended.
func (p *pool) wait() { p.jobs.Wait() }

// pause lets a job sleep without its place.
func (p *pool) pause(ctx context.Context, d time.Duration) error {
	p.leave()
	err := sleep(ctx, d)
	back := make(chan struct{})
	p.enter(func() { close(back) })
	<-back
	return err
}

// enter calls in, which must not wait for anything, once there is room.
func (p *pool) enter(in func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room == 0 {
		p.queue = append(p.queue, in)
		return
	}
	p.room--
	in()
}

func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.room++
		return
	}
	in := p.queue[0]
	p.queue = p.queue[1:]
	in()
}
