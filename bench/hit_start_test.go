package bench

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

func measureStart(b *testing.B) []*series {
	return []*series{
		start(b, 4, atMostOf(300)),
		start(b, 20, atMostOf(1000)),
	}
}

// start is the time from `serve` to the first answer that needs a worker: a
// manifest that is cached.
func start(b *testing.B, upstreams int, g goal) *series {
	b.Helper()
	u := newUpstream(b, distance{}, newImage(b, small([]byte("layer"))))
	took := newSeries(fmt.Sprintf("serve to first answer, %d upstreams", upstreams), "ms", g)
	s, a := prepareCache(b, u, cacheOptions{upstreams: upstreams, tagMaxAge: freshTag})
	launchCache(s, a)
	s.warm(b, u)
	a.Stop()
	for range *rounds {
		begin := time.Now()
		a.Launch()
		require.NoError(b, s.firstAnswer(u.image))
		took.add(s.name, time.Since(begin).Seconds()*1e3)
		a.Stop()
	}
	return took
}

// firstAnswer asks until there is someone to answer, and then waits.
func (s *server) firstAnswer(img image) error {
	var last error
	answered := harness.Within(harness.Patience, func() bool {
		transport := &http.Transport{TLSClientConfig: s.tls.Clone()}
		defer transport.CloseIdleConnections()
		p := puller{server: s, client: &http.Client{Transport: transport}}
		last = p.fetch(s.path("manifests", img.manifest.digest), img.manifest.digest)
		return last == nil
	})
	if !answered {
		return errors.Join(errors.New("no answer"), last)
	}
	return nil
}
