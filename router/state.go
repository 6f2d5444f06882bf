package router

import (
	"crypto/tls"
	"fmt"
	"reflect"

	"registrycache/config"
	"registrycache/router/address"
)

// state is one set of settings, ready for use and immutable.
type state struct {
	settings config.Router
	table    *address.Table
	// upstreams are the workers by the Path of their route.
	upstreams map[string]*upstream
	// hosted is the first part of the names of what is pushed here, or empty.
	hosted string
	gate   gate
	// tls is nil for plain HTTP.
	tls *tls.Config
}

// newState makes a state. What did not change is taken over from the state
// before: connections to workers, verified credentials, TLS sessions.
func newState(settings config.Router, old *state, tune tuning) (*state, error) {
	s := &state{
		settings:  settings,
		table:     address.NewTable(settings.Routes, settings.DefaultRoute),
		upstreams: make(map[string]*upstream),
		tls:       old.tls,
		gate:      old.gate,
	}
	if !reflect.DeepEqual(settings.TLS, old.settings.TLS) {
		var err error
		if s.tls, err = serverTLS(settings.TLS); err != nil {
			return nil, err
		}
	}
	// A token controller reads key files, which may be new behind the same path.
	if old.gate == nil || settings.Auth.Type == config.AuthToken || !reflect.DeepEqual(settings.Auth, old.settings.Auth) {
		var err error
		if s.gate, err = newGate(settings.Auth, tune.newController); err != nil {
			return nil, err
		}
	}
	for _, r := range settings.Routes {
		u, ok := old.upstreams[r.Path]
		if !ok || u.socket != r.Socket {
			u = newUpstream(r, settings.StoreDir, tune)
		}
		s.upstreams[r.Path] = u
		if r.Hosted {
			s.hosted = r.Path
		}
	}
	return s, nil
}

// close releases what the next state does not use.
func (s *state) close(next *state) {
	for path, u := range s.upstreams {
		if next.upstreams[path] != u {
			u.transport.CloseIdleConnections()
		}
	}
	if s.gate != next.gate {
		s.gate.close()
	}
}

func serverTLS(pair *config.KeyPair) (*tls.Config, error) {
	if pair == nil {
		return nil, nil
	}
	cert, err := tls.X509KeyPair(pair.Cert, []byte(pair.Key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("TLS certificate and key: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		// Small first records are for pages that are shown as they come.
		DynamicRecordSizingDisabled: true,
	}, nil
}
