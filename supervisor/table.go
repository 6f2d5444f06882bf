package supervisor

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"registrycache/config"
)

// supervisor is the table of processes. The goroutine of Run alone changes it.
type supervisor struct {
	cfg      *config.Config
	opt      Options
	log      zerolog.Logger
	launcher *launcher
	kill     chan struct{} // closed to end all children at once

	router, logger, cleaner *process

	// mu is for what others ask for, too: cfg and workers.
	mu      sync.Mutex
	workers map[string]*process // by worker.key

	routerDone chan struct{}  // closed when the router has ended for good
	leaving    sync.WaitGroup // workers that were removed
}

func newSupervisor(cfg *config.Config, opt Options, lines *problems, spawner *spawner) *supervisor {
	return &supervisor{
		cfg: cfg,
		opt: opt,
		log: opt.Log,
		launcher: &launcher{
			spawner:   spawner,
			command:   opt.Command,
			env:       cfg.ChildEnv,
			adminPath: func(n string) string { return cfg.Socket("admin-" + n) },
			output:    sink{lines: lines, text: opt.Log, stack: opt.Log.Output(lines.next)},
		},
		kill:       make(chan struct{}),
		workers:    map[string]*process{},
		routerDone: make(chan struct{}),
	}
}

// start starts all processes, and waits for none.
func (s *supervisor) start(opened *sockets) {
	for _, w := range workersOf(s.cfg) {
		s.workers[w.key] = s.newWorker(w, opened.workers[w.key])
	}
	s.router = s.newProcess(update, s.cfg.Router(), opened.router, "router")
	s.logger = s.newProcess(update, s.cfg.Logger(), opened.logger, "logger")
	s.cleaner = s.newProcess(update, s.cfg.Cleaner, opened.cleaner, "cleaner")
	for _, p := range s.list() {
		go p.run()
	}
}

func (s *supervisor) newWorker(w worker, on *socket) *process {
	return s.newProcess(replace, w.settings, on, w.argv...)
}

// newProcess makes the process that ps shows as `registry-cache` and argv.
func (s *supervisor) newProcess(how takeover, settings any, on *socket, argv ...string) *process {
	name := strings.Join(argv, " ")
	return newProcess(&process{
		name:     name,
		takeover: how,
		settings: settings,
		socket:   on,
		log:      s.log.With().Str("process", name).Logger(),
		grace:    s.cfg.Drain,
		kill:     s.kill,
		vigil:    s.opt.vigil,
		launch: func(settings any) (*instance, error) {
			return s.launcher.launch(name, argv, on, settings)
		},
	})
}

// list returns all processes but those that leave, in the order in which they
// are stopped.
func (s *supervisor) list() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []*process{s.router}
	for _, key := range slices.Sorted(maps.Keys(s.workers)) {
		all = append(all, s.workers[key])
	}
	return append(all, s.logger, s.cleaner)
}

// settings returns the configuration in force.
func (s *supervisor) settings() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// workerOf returns the process of an upstream, nil if there is none.
func (s *supervisor) workerOf(u config.Upstream) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[keyOf(u)]
}
