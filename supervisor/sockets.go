package supervisor

import (
	"fmt"
	"net"

	"registrycache/config"
)

// sockets are opened at the start, one for each process.
type sockets struct {
	router, logger, cleaner *socket
	metrics                 *net.TCPListener
	workers                 map[string]*socket // by the upstream's Path
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
	s.workers, err = openWorkers(cfg, cfg.Upstreams)
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
}

func (s *sockets) addresses() Addresses {
	return Addresses{Listen: s.router.addr.String(), Metrics: s.metrics.Addr().String()}
}

// openWorkers opens the sockets of the workers of upstreams, all or none.
func openWorkers(cfg *config.Config, upstreams []config.Upstream) (map[string]*socket, error) {
	opened := map[string]*socket{}
	for _, u := range upstreams {
		s, err := listenUnix(cfg.Socket("worker-" + u.Path))
		if err != nil {
			for _, s := range opened {
				s.close()
			}
			return nil, fmt.Errorf("RUNDIR: the socket of the worker for %s: %w", u.Name, err)
		}
		opened[u.Path] = s
	}
	return opened, nil
}
