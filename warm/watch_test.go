package warm

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a Watcher that remembers.
type recorder struct {
	Unwatched
	mu    sync.Mutex
	sizes []int64
	begun []string
	done  []string
	at    []int64
	ended int
	// early says that a blob ended while others were looked up.
	early   bool
	looking bool
}

func (r *recorder) LookedUp(done, known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looking = done < known
}

func (r *recorder) Fetching(size int64) { r.sizes = append(r.sizes, size) }
func (r *recorder) ImageBegun(name string, _ int, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, name)
}
func (r *recorder) ImageDone(result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, result.Image.Name)
}
func (r *recorder) BlobAt(_ Blob, done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, done)
}
func (r *recorder) BlobDone(Blob, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	r.early = r.early || r.looking
}

func TestRunTellsHowFarItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob(bytes.Repeat([]byte("x"), 2*step+1))
		f.image(t, "quay.io/a", "1", layer)
		f.image(t, "quay.io/b", "1", layer)
		watch := &recorder{}
		f.run(t, Options{Jobs: 1, Watcher: watch}, "quay.io/a:1", "quay.io/b:1", "quay.io/none:1")
		const config = int64(len("config of quay.io/a1"))
		require.Equal(t, []int64{config, config + layer.Size, layer.Size + 2*config}, watch.sizes, "the layer comes once")
		require.Equal(t, []string{"quay.io/a:1", "quay.io/b:1"}, watch.begun)
		require.ElementsMatch(t, []string{"quay.io/none:1", "quay.io/a:1", "quay.io/b:1"}, watch.done)
		require.Equal(t, []int64{config, step, 2 * step, 2*step + 1}, watch.at[:4])
		require.GreaterOrEqual(t, watch.ended, 3)
	})
}
