package supervisor

import (
	"fmt"

	"registrycache/config"
)

// worker is a process that answers for the names that begin with one part: one
// upstream's, or those of what is pushed.
type worker struct {
	// key tells it from the others, also from those of another configuration.
	key string
	// of is whose it is, in words.
	of string
	// argv is its role and arguments.
	argv     []string
	socket   string
	settings any
}

// workersOf returns the workers that a configuration wants. The settings of one
// are only ever those that its process was started with: its upstream client
// need not bear changes.
func workersOf(cfg *config.Config) (list []worker) {
	for _, u := range cfg.Upstreams {
		list = append(list, worker{
			key: keyOf(u), of: u.Name, argv: []string{"worker", u.Name},
			socket: cfg.Socket("worker-" + u.Path), settings: cfg.Worker(u),
		})
	}
	if h := cfg.Hosted; h != nil {
		list = append(list, worker{
			key: "hosted " + h.Prefix, of: h.Prefix + "/", argv: []string{"hosted"},
			socket: cfg.HostedSocket(), settings: cfg.HostedWorker(),
		})
	}
	return list
}

func keyOf(u config.Upstream) string { return "worker " + u.Path }

// openWorkers opens the sockets of workers by their keys, all or none.
func openWorkers(workers []worker) (map[string]*socket, error) {
	opened := map[string]*socket{}
	for _, w := range workers {
		s, err := listenUnix(w.socket)
		if err != nil {
			for _, s := range opened {
				s.close()
			}
			return nil, fmt.Errorf("RUNDIR: the socket of the worker for %s: %w", w.of, err)
		}
		opened[w.key] = s
	}
	return opened, nil
}
