package cleaner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
)

// killedStore makes the test binary a cleaner of the store it names.
const killedStore = "CLEANER_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedStore); dir != "" {
		if err := cleanAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func cleanAll(dir string) error {
	store, err := images.Open(dir)
	if err != nil {
		return err
	}
	metrics, err := newMetrics(prometheus.NewRegistry(), store)
	if err != nil {
		return err
	}
	c := newCleaner(store)
	c.log, c.metrics, c.growth = zerolog.New(os.Stderr), metrics, store.Growth()
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	_, err = c.look(context.Background(), config.Cleaner{MaxSize: 1})
	return err
}

func TestKilledWhileItEvictsItLeavesNoHalfImage(t *testing.T) {
	for range 6 {
		s := newStore(t)
		needs := map[digest.Digest][]digest.Digest{}
		var all []digest.Digest
		base := s.layer(t, "base", 200)
		for i := range 60 {
			layer := s.layer(t, fmt.Sprint("layer", i), 199)
			m := s.manifest(t, "layers", i+1, base, layer)
			needs[m] = []digest.Digest{base, layer}
			all = append(all, m, layer)
		}
		left := func() (n int) {
			for _, d := range all {
				if s.here(d) {
					n++
				}
			}
			return n
		}

		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedStore+"="+s.dir)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		stop := rand.IntN(len(all))
		require.Eventually(t, func() bool { return left() <= stop }, 60*time.Second, 100*time.Microsecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()

		for m, blobs := range needs {
			for _, d := range blobs {
				require.True(t, !s.here(m) || s.here(d), "%s is here without %s", m, d)
			}
		}
		require.NoError(t, cleanAll(s.dir), "the next clean goes on")
		require.Zero(t, left())
	}
}
