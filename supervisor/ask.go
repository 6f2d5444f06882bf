package supervisor

import (
	"context"
	"sync"
	"time"
)

// askTimeout bounds the wait for one process. One that is slow to answer is not
// for the answer to wait for.
const askTimeout = time.Second

// askEach asks all processes at once, for askTimeout at most.
func askEach(ctx context.Context, processes []*process, ask func(ctx context.Context, i int, p *process)) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() { ask(ctx, i, p) })
	}
	asked.Wait()
}
