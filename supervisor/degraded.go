package supervisor

import (
	"context"
	"sync"
	"time"
)

// degradedTimeout bounds the wait for one process. One that is slow to answer
// is not for this to report.
const degradedTimeout = time.Second

// degradedStores asks every process whether it can write to the store, and
// returns what those say that can't.
func degradedStores(ctx context.Context, processes []*process) []string {
	ctx, cancel := context.WithTimeout(ctx, degradedTimeout)
	defer cancel()
	said := make([]string, len(processes))
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() {
			said[i], _ = p.health(ctx) // the state of one that doesn't answer is shown beside
		})
	}
	asked.Wait()
	var all []string
	for i, reason := range said {
		if reason != "" {
			all = append(all, processes[i].name+": the store is not written: "+reason)
		}
	}
	return all
}
