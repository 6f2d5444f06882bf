package e2e

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// Whatever goes wrong between the first byte and the last, a client sees one
// clean body; and what had come is not asked for again, where the upstream takes
// ranges.
func TestTransferSurvives(t *testing.T) {
	t.Parallel()
	const size, part = 3_000_000, 1_000_000
	other := make([]byte, size)
	_, _ = rand.Read(other)
	cut, stall := harness.CutAfter(part), harness.WaitAfter(part, nil)
	for name, try := range map[string]struct {
		faults []harness.Fault
		// again is how many bytes may come twice.
		again int64
	}{
		"a drop":                    {[]harness.Fault{cut}, 0},
		"a drop before the answer":  {[]harness.Fault{harness.Drop()}, 0},
		"drop after drop":           {[]harness.Fault{cut, harness.CutAfter(part / 2), harness.CutAfter(1), harness.Drop()}, 0},
		"a stall":                   {[]harness.Fault{stall}, 0},
		"a stall at the first byte": {[]harness.Fault{harness.WaitAfter(0, nil)}, 0},
		"503 midway":                {[]harness.Fault{cut, harness.Status(503)}, 0},
		"500 and 502 midway":        {[]harness.Fault{cut, harness.Status(500), harness.Status(502)}, 0},
		"429 midway":                {[]harness.Fault{cut, harness.Status(429, "Retry-After", "1")}, 0},
		"404 midway":                {[]harness.Fault{cut, harness.Status(404)}, 0},
		"401 midway":                {[]harness.Fault{cut, harness.Status(401)}, 0},
		"503 at first":              {[]harness.Fault{harness.Status(503)}, 0},
		"429 at first":              {[]harness.Fault{harness.Status(429, "Retry-After", "1")}, 0},
		"the whole for a range":     {[]harness.Fault{harness.NoRanges()}, 0},
		"the whole for the rest":    {[]harness.Fault{cut, harness.NoRanges()}, part},
		"no ranges, ever": {[]harness.Fault{
			func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				harness.NoRanges()(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cut(w, r, next) }))
			}, harness.NoRanges(), harness.NoRanges()}, part},
		"the wrong range": {[]harness.Fault{cut, harness.WrongRange(other[:part])}, 0},
		"no length":       {[]harness.Fault{harness.Chunked()}, 0},
		"no length and cut": {[]harness.Fault{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			harness.Chunked()(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cut(w, r, next) }))
		}}, part},
		"another size, once":     {[]harness.Fault{cut, harness.Content("application/octet-stream", other[:size-1])}, size},
		"an error page with 200": {[]harness.Fault{cut, harness.Content("text/html", []byte("<html>Please log in</html>"))}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := harness.NewDepot(t)
			blob, content := d.Random(t, size)
			a := d.Cache(t, harness.Settings{"idleTimeout": "500ms"})
			d.Inject(http.MethodGet, blob, harness.Sequence(try.faults...))
			readAll(t, a, blob, content, 4)
			a.WaitStored(t, blob)
			require.LessOrEqual(t, received(t, a), size+try.again+10_000, "%d requests", d.Count("", blob))
			require.Zero(t, a.Metric(t, "registry_cache_fill_failed_total"))
			if strings.Contains(name, "stall") {
				a.WaitLog("going on with another request", "500ms")
			}
		})
	}
}

// The same through real clients and a registry that wants tokens, with every
// blob's transfer cut and stalled.
func TestClientsNoticeNothing(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	img := harness.Image(t, 2_000_000, 70_000, 900_000)
	u.Push(t, "podman/hello:latest", img)
	for i := range 3 {
		layer, _ := harness.Layer(t, img, i)
		u.Inject(http.MethodGet, "/blobs/"+layer, harness.Sequence(
			harness.CutAfter(60_000), harness.Status(503), harness.WaitAfter(5_000, nil)))
	}
	a := harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings().With("idleTimeout", "500ms")},
	})
	image := a.Addr + "/quay.io/podman/hello:latest"
	podman := harness.Podman(t)
	pulled := make(chan error, 1)
	go func() {
		_, err := podman.Do("pull", "--quiet", "--tls-verify=false", image)
		pulled <- err
	}()
	harness.Skopeo(t).Copy(image, "--src-tls-verify=false")
	require.NoError(t, <-pulled)
	for i := range 3 {
		layer, _ := harness.Layer(t, img, i)
		require.LessOrEqual(t, u.Count(http.MethodGet, "/blobs/"+layer), 4)
	}
}

// Wrong bytes once: the blob is fetched once more, those that had none of it
// notice nothing, and nothing wrong is stored or given out whole.
func TestWrongBytesOnce(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 30_000, "large": 1_000_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := harness.NewDepot(t)
			blob, content := d.Random(t, size)
			a := d.Cache(t, nil)
			begun := make(chan struct{})
			d.Inject(http.MethodGet, blob, harness.Sequence(wrongBytes(size/2, begun)))
			if name == "small" {
				close(begun)
				require.Equal(t, content, a.HTTP(t).Get(blobs+blob).Body)
			} else {
				got, err := readInTwo(a.HTTP(t), blobs+blob, func() { close(begun) })
				require.Error(t, err, "it had wrong bytes already, so it is cut off")
				require.Less(t, len(got), size, "and never has the last one")
			}
			a.WaitStored(t, blob)
			readAll(t, a, blob, content, 2)
			require.Equal(t, 2, d.Count("", blob))
			require.Equal(t, 1.0, a.Metric(t, "registry_cache_fill_wrong_digest_total", "upstream", "quay.io"))
			line := a.WaitLog("wrong digest", blob)
			require.Contains(t, line, "quay.io")
		})
	}
}

// wrongBytes sends n of them, and the others when the channel is closed.
func wrongBytes(n int, until <-chan struct{}) harness.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		harness.WaitAfter(n, until)(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			harness.Corrupt()(w, r, next)
		}))
	}
}

// Wrong bytes for ever: tried once more, then given up; nothing is stored.
func TestWrongBytesForEver(t *testing.T) {
	t.Parallel()
	const size = 500_000
	d := harness.NewDepot(t)
	blob, _ := d.Random(t, size)
	a := d.Cache(t, nil)
	begun := make(chan struct{})
	d.Inject(http.MethodGet, blob, wrongBytes(size/2, begun))
	got, err := readInTwo(a.HTTP(t), blobs+blob, func() { close(begun) })
	require.Error(t, err)
	require.Less(t, len(got), size)
	harness.Eventually(t, func() bool { return a.Metric(t, "registry_cache_fill_failed_total") == 1 }, "given up")
	require.Equal(t, 2, d.Count("", blob))
	require.Equal(t, 2.0, a.Metric(t, "registry_cache_fill_wrong_digest_total"))
	requireSoundStore(t, a)
	require.NotContains(t, strings.Join(storedBlobs(t, a), " "), strings.TrimPrefix(blob, "sha256:"))
}

// An upstream that wants to be left alone for an hour is not waited for: the
// reader is cut off, and what came is kept for the next one.
func TestTransferIsGivenUp(t *testing.T) {
	t.Parallel()
	d := harness.NewDepot(t)
	blob, content := d.Random(t, 2_000_000)
	a := d.Cache(t, nil)
	d.Inject(http.MethodGet, blob, harness.Sequence(harness.CutAfter(1_000_000), harness.Status(429, "Retry-After", "3600")))
	answer, err := a.HTTP(t).Do(http.MethodGet, blobs+blob)
	require.Error(t, err, "%d bytes must not look whole", len(answer.Body))
	harness.Eventually(t, func() bool { return a.Metric(t, "registry_cache_fill_failed_total") == 1 }, "given up")
	readAll(t, a, blob, content, 1)
	require.LessOrEqual(t, received(t, a), int64(len(content)+10_000))
}
