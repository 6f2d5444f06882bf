package router

import (
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// What was removed from the store is asked for again, so that the worker
// stores it again.
func TestManifestThatIsGoneIsNotGivenFromMemory(t *testing.T) {
	c := newCache(t)
	const content = `{"manifests":[]}`
	d := c.blob(content)
	var asked atomic.Int64
	answer := manifest(content, "max-age=60")
	c.worker("quay.io", counter(&asked, func(w http.ResponseWriter, r *http.Request) {
		answer(headerSetter{w, d}, r)
	}))
	c.start()
	ask := func() {
		response, body := c.get("/v2/quay.io/a/manifests/" + d.String())
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, content, body)
	}
	ask()
	ask()
	require.Equal(t, int64(1), asked.Load())

	require.NoError(t, os.Remove(c.store.BlobPath(d)))
	c.eventually(func() bool {
		ask()
		return asked.Load() > 1
	})

	// It did not come back: the worker could not write it. Then memory has to do.
	before := asked.Load()
	for start := time.Now(); time.Since(start) < 3*lookEvery; {
		ask()
	}
	require.Equal(t, before, asked.Load())
}

// headerSetter has the digest of a blob that is in the store.
type headerSetter struct {
	http.ResponseWriter
	d digest.Digest
}

func (h headerSetter) Write(p []byte) (int, error) {
	h.Header().Set(digestHeader, h.d.String())
	return h.ResponseWriter.Write(p)
}
