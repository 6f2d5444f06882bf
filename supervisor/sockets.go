package supervisor

import (
	"fmt"
	"net"

	"registrycache/config"
)

// sockets are opened at the start, one for each process, and those of the
// supervisor itself.
type sockets struct {
	router, logger, cleaner *socket
	metrics                 *net.TCPListener
	status                  *net.UnixListener  // where the router asks
	workers                 map[string]*socket // by the worker's key
}

// openSockets opens all, or none.
func openSockets(cfg *config.Config) (*sockets, error) {
	s := &sockets{}
	if err := s.open(cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sockets) open(cfg *config.Config) error {
	listener, err := listenTCP("LISTEN_ADDR", cfg.ListenAddr)
	if err != nil {
		return err
	}
	if s.router, err = hold(listener); err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	if s.metrics, err = listenTCP("METRICS_ADDR", cfg.MetricsAddr); err != nil {
		return err
	}
	if s.logger, err = openNothing(); err != nil {
		return err
	}
	if s.cleaner, err = openNothing(); err != nil {
		return err
	}
	if s.status, err = bindUnix(cfg.Socket("status")); err != nil {
		return fmt.Errorf("RUNDIR: the socket of the state of the cache: %w", err)
	}
	s.workers, err = openWorkers(workersOf(cfg))
	return err
}

// close closes what is open.
func (s *sockets) close() {
	for _, open := range []*socket{s.router, s.logger, s.cleaner} {
		if open != nil {
			open.close()
		}
	}
	if s.metrics != nil {
		_ = s.metrics.Close()
	}
	if s.status != nil {
		_ = s.status.Close()
	}
}

func (s *sockets) addresses() Addresses {
	return Addresses{Listen: s.router.addr.String(), Metrics: s.metrics.Addr().String()}
}
