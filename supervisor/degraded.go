package supervisor

import "context"

// degradedStores asks every process whether it can write to the store, and
// returns what those say that can't.
func degradedStores(ctx context.Context, processes []*process) []string {
	said := make([]string, len(processes))
	askEach(ctx, processes, func(ctx context.Context, i int, p *process) {
		said[i], _ = p.health(ctx) // the state of one that doesn't answer is shown beside
	})
	return storeReasons(processes, said)
}

// storeReasons says in words what the processes said of the store.
func storeReasons(processes []*process, said []string) []string {
	var all []string
	for i, reason := range said {
		if reason != "" {
			all = append(all, processes[i].name+": the store is not written: "+reason)
		}
	}
	return all
}
