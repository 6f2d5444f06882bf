package statuspage

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/router/statuspage/pagetest"
)

func TestSupervisorIsAskedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := newSource(func(context.Context) ([]byte, error) {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond)
			return []byte(`{"version":"v1"}`), nil
		})
		look := func() {
			var clients sync.WaitGroup
			for range 50 {
				clients.Go(func() {
					got, err := s.current(t.Context())
					assert.NoError(t, err)
					assert.Equal(t, "v1", got.document.Version)
				})
			}
			clients.Wait()
		}
		look()
		look()
		assert.Equal(t, int64(1), asked.Load(), "within a second")
		time.Sleep(freshFor)
		look()
		assert.Equal(t, int64(2), asked.Load())
		time.Sleep(time.Hour)
		assert.Equal(t, int64(2), asked.Load(), "nobody looks")
	})
}

func TestSourceKeepsTheLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, fault := []byte(`{"version":"v1"}`), error(nil)
		s := newSource(func(context.Context) ([]byte, error) { return answer, fault })
		_, err := s.current(t.Context())
		require.NoError(t, err)

		time.Sleep(freshFor)
		fault = errors.New("gone")
		got, err := s.current(t.Context())
		require.ErrorContains(t, err, "gone")
		assert.Equal(t, "v1", got.document.Version)

		time.Sleep(freshFor)
		answer, fault = []byte(`{"version":`), nil
		got, err = s.current(t.Context())
		require.Error(t, err, "half a document is none")
		assert.Equal(t, "v1", got.document.Version)
	})
}

func TestSlowSupervisorIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := s.current(impatient)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin), "a client may leave before")
		got, err := s.current(t.Context())
		require.Error(t, err)
		assert.Nil(t, got)
		assert.Equal(t, askTimeout, time.Since(begin))
	})
}

func TestClosedSourceAsksNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		s.close()
		_, err := s.current(t.Context())
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAskSupervisor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	supervisor := pagetest.Serve(t, socket, pagetest.Example(noon))
	raw, err := askSupervisor(socket)(t.Context())
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"version":"v1.4.0"`)
	assert.Equal(t, 1, supervisor.Asked())

	_, err = askSupervisor("")(t.Context())
	require.ErrorIs(t, err, errNoSocket)
	_, err = askSupervisor(socket + ".not")(t.Context())
	require.Error(t, err)
}

func TestAskSupervisorTrustsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	for name, handle := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"larger": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat(" ", maxDocument+1)))
		},
	} {
		socket := filepath.Join(dir, name[:3])
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		server := &http.Server{Handler: handle, ReadHeaderTimeout: patience}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(listener) }()
		_, err = askSupervisor(socket)(t.Context())
		require.ErrorContains(t, err, name)
		require.NoError(t, server.Close())
		<-served
	}
}
