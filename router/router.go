package router

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/config"
	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/router/pulls"
	"registrycache/router/statuspage"
)

// tuning is what a test makes smaller.
type tuning struct {
	// readHeaderTimeout is how long a client may take for its request's
	// header, and for a TLS handshake.
	readHeaderTimeout time.Duration
	// idleTimeout is how long a connection without a request stays open.
	idleTimeout time.Duration
	// stallTimeout is how long a client may take nothing of an answer.
	stallTimeout time.Duration
	// retryWaits are the pauses before a worker that can't be reached is asked
	// again. A worker that restarts keeps its socket, so they need not
	// cover its start.
	retryWaits []time.Duration
	// answerTimeout is how long a worker may take for the header of an answer.
	// It is a last resort: workers have timeouts of their own for each phase.
	answerTimeout time.Duration
	newController newController
}

var productionTuning = tuning{
	readHeaderTimeout: 10 * time.Second,
	idleTimeout:       2 * time.Minute,
	stallTimeout:      5 * time.Minute,
	retryWaits:        []time.Duration{100 * time.Millisecond, 400 * time.Millisecond},
	answerTimeout:     3 * time.Minute,
	newController:     distributionController,
}

// Run serves clients on ln until ctx is done, then finishes the requests in
// flight and returns nil. ready is called once when requests are answered.
// Settings from updates replace first while requests run; those that can't be
// used are reported and change nothing. An error means that nothing can be
// served at all.
func Run(ctx context.Context, first config.Router, updates <-chan config.Router, ln net.Listener, log zerolog.Logger, reg prometheus.Registerer, ready func()) error {
	defer func() { _ = ln.Close() }()
	h, err := newHandler(first, log, reg, productionTuning)
	if err != nil {
		return err
	}
	defer h.close()
	return h.run(ctx, updates, ln, ready)
}

func newHandler(first config.Router, log zerolog.Logger, reg prometheus.Registerer, tune tuning) (*handler, error) {
	silenceDistribution()
	store, err := images.Open(first.StoreDir)
	if err != nil {
		return nil, err
	}
	h := &handler{
		tune: tune, store: store, log: log, metrics: newMetrics(reg), hits: newHits(), pulls: pulls.New(log),
		page: statuspage.New(first.StatusSocket),
		// A client can cause these at will.
		warnings: log.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Second}),
	}
	st, err := newState(first, &state{}, tune)
	if err != nil {
		return nil, err
	}
	h.use(st)
	if h.records, err = accesslog.NewWriter(first.AccessLog, accesslog.WriterOptions{Log: log, Metrics: reg}); err != nil {
		log.Warn().Err(err).Msg("serving without an access log; images will not be marked as used")
	}
	return h, nil
}

// use has requests answered by a state from now on.
func (h *handler) use(st *state) {
	h.metrics.know(st.settings.Routes)
	h.state.Store(st)
}

// close is called when no request is in flight.
func (h *handler) close() {
	h.page.Close()
	h.state.Load().close(&state{})
	h.pulls.Close()
	if h.records == nil {
		return
	}
	if err := h.records.Close(); err != nil {
		h.log.Warn().Err(err).Msg("the end of the access log may be missing")
	}
}

func (h *handler) run(ctx context.Context, updates <-chan config.Router, ln net.Listener, ready func()) error {
	server := newServer(h)
	// Otherwise who looks at the page would be waited for.
	server.RegisterOnShutdown(h.page.Close)
	var serveErr error
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveErr = server.Serve(listener{ln, h})
	}()
	ready()
	for {
		select {
		case <-ctx.Done():
			// The supervisor kills what takes longer than its grace.
			err := server.Shutdown(context.WithoutCancel(ctx))
			<-served
			return err
		case <-served:
			_ = server.Close()
			return fmt.Errorf("accept clients: %w", serveErr)
		case settings, ok := <-updates:
			if !ok {
				updates = nil
				continue
			}
			h.update(settings)
		}
	}
}

// update swaps the settings, or keeps the old ones when the new are broken.
func (h *handler) update(settings config.Router) {
	old := h.state.Load()
	next, err := newState(settings, old, h.tune)
	if err != nil {
		h.log.Error().Err(err).Msg("new settings are broken; the old ones stay in force")
		return
	}
	h.use(next)
	old.close(next)
	h.log.Info().Int("upstreams", len(settings.Routes)).Bool("tls", settings.TLS != nil).
		Str("auth", settings.Auth.Type).Msg("settings reloaded")
}
