package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"registrycache/e2e/harness"
)

// loadTime is how long clients pull while the cleaner is at work.
var loadTime = flag.Duration("load", 15*time.Second, "how long clients pull beside the cleaner")

const (
	loadImages = 90
	loadImage  = 200_000
	// loadLimit is what a third of the images takes.
	loadLimit = loadImages / 3 * (loadImage + 20_000)
	// secondsAsMinutes is how long a blob that has landed is left alone here:
	// the test makes what is older than that older than the minute it takes.
	secondsAsMinutes = 1500 * time.Millisecond
)

// loaded is a cache with room for a third of the images there are.
type loaded struct {
	*harness.Appliance
	images []v1.Image
	// pause is what each client makes after a pull.
	pause time.Duration

	mu     sync.Mutex
	pulled map[int]int // how often, by image
}

func startLoaded(t *testing.T, pause time.Duration) *loaded {
	t.Helper()
	u := harness.NewOpenUpstream(t)
	l := &loaded{pause: pause, pulled: map[int]int{}}
	for i := range loadImages {
		l.images = append(l.images, harness.Image(t, loadImage/2, loadImage/2))
		u.Push(t, fmt.Sprintf("team/app:%d", i), l.images[i])
	}
	l.Appliance = harness.Start(t, harness.Options{
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env: map[string]string{
			"CLEANER_MAXSIZE": fmt.Sprint(loadLimit), "CLEANER_RUNEVERY_TIME": "24h", "CLEANER_MIN_FREE": "off",
		},
	})
	return l
}

// pick chooses an image; a few are chosen most of the time.
func (l *loaded) pick(zipf *rand.Zipf) int {
	i := int(zipf.Uint64())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulled[i]++
	return i
}

// clients pull until the time is over, and return what failed.
func (l *loaded) clients(t *testing.T, over <-chan time.Time) error {
	t.Helper()
	var pulls []func(i int) error
	podman := harness.Podman(t)
	pulls = append(pulls, func(i int) error {
		out, err := podman.Do("pull", "--quiet", "--tls-verify=false", l.name(i))
		if err != nil {
			return fmt.Errorf("podman: %w: %s", err, out)
		}
		_, _ = podman.Do("rmi", "--force", l.name(i))
		return nil
	})
	for n := range 3 {
		skopeo := harness.Skopeo(t)
		dir := fmt.Sprintf("%s/copy%d", skopeo.Dir, n)
		pulls = append(pulls, func(i int) error {
			defer func() { _ = os.RemoveAll(dir) }()
			out, err := skopeo.Do("copy", "--quiet", "--src-tls-verify=false", "docker://"+l.name(i), "dir:"+dir)
			if err != nil {
				return fmt.Errorf("skopeo: %w: %s", err, out)
			}
			return nil
		})
	}
	for range 4 {
		c := l.HTTP(t)
		pulls = append(pulls, func(i int) error { return l.pull(c, i) })
	}
	ended := make(chan struct{})
	failures := make(chan error, len(pulls))
	for n, pull := range pulls {
		zipf := rand.NewZipf(rand.New(rand.NewPCG(1, uint64(n))), 1.5, 1, loadImages-1)
		go func() {
			for {
				select {
				case <-ended:
					failures <- nil
					return
				default:
				}
				if err := pull(l.pick(zipf)); err != nil {
					failures <- err
					return
				}
				time.Sleep(l.pause)
			}
		}()
	}
	<-over
	close(ended)
	var all []error
	for range pulls {
		all = append(all, <-failures)
	}
	return errors.Join(all...)
}

func (l *loaded) name(i int) string { return fmt.Sprintf("%s/quay.io/team/app:%d", l.Addr, i) }

// pull does what clients do, and checks every byte.
func (l *loaded) pull(c *harness.Caller, i int) error {
	get := func(path string) ([]byte, error) {
		answer, err := c.Do(http.MethodGet, "/v2/quay.io/team/app/"+path)
		if err == nil && answer.Status != http.StatusOK {
			err = fmt.Errorf("%s of image %d: %d %s", path, i, answer.Status, answer.Body)
		}
		return answer.Body, err
	}
	manifest, err := get(fmt.Sprintf("manifests/%d", i))
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return err
	}
	for _, desc := range append(m.Layers, m.Config) {
		body, err := get("blobs/" + desc.Digest.String())
		if err != nil {
			return err
		}
		if got := digest.FromBytes(body).String(); got != desc.Digest.String() {
			return fmt.Errorf("image %d: %s instead of %s", i, got, desc.Digest)
		}
	}
	return nil
}

// watch makes blobs that landed a while ago older than they are, so that the
// minute which the cleaner gives them is over, and returns the most that the
// store took.
func (l *loaded) watch(t *testing.T, done <-chan struct{}) (most int64) {
	for {
		select {
		case <-done:
			return most
		case <-time.After(100 * time.Millisecond):
		}
		taken, now := int64(0), time.Now()
		// Glob passes over what is evicted at this moment.
		paths, _ := filepath.Glob(filepath.Join(l.Store(), "docker/registry/v2/blobs/sha256/*/*/data"))
		for _, path := range paths {
			var st unix.Stat_t
			if unix.Stat(path, &st) != nil {
				continue // evicted
			}
			taken += st.Blocks * 512
			if age := now.Sub(time.Unix(st.Mtim.Unix())); secondsAsMinutes < age && age < time.Minute {
				if err := setTimes(path, keep, now.Add(-2*time.Minute)); err != nil {
					t.Error(err)
				}
			}
		}
		most = max(most, taken)
	}
}

// Cleans keep the store at its limit while clients pull three times as much:
// no pull fails, and what is pulled most is still there.
func TestStoreStaysBelowItsLimitUnderPulls(t *testing.T) {
	t.Parallel()
	// Slow enough for the store to turn over no faster than uses are recorded.
	l := startLoaded(t, time.Second)
	first := l.HTTP(t)
	for i := range loadImages / 3 { // what nobody uses fills the store
		require.NoError(t, l.pull(first, loadImages-1-i))
	}
	done := make(chan struct{})
	most := make(chan int64)
	go func() { most <- l.watch(t, done) }()
	require.NoError(t, l.clients(t, time.After(*loadTime)))

	byUse := slices.SortedFunc(maps.Keys(l.pulled), func(a, b int) int { return l.pulled[b] - l.pulled[a] })
	listed := images(t, l.Appliance)
	for _, i := range byUse[:3] {
		require.True(t, listed[fmt.Sprintf("quay.io/team/app:%d", i)].Complete, "image %d, pulled %d times", i, l.pulled[i])
	}
	harness.Eventually(t, func() bool { return l.Metric(t, "registry_cache_store_bytes") < 1.2*loadLimit }, "a last clean")
	close(done)
	require.Less(t, <-most, int64(2*loadLimit), "the limit, the threshold and what lands within a second")

	cleans := 0
	for line := range strings.Lines(l.Output()) {
		var report struct{ Message, Before, After, Limit, Missing string }
		if json.Unmarshal([]byte(line), &report) != nil || report.Message != "store cleaned" {
			continue
		}
		cleans++
		require.LessOrEqual(t, bytesOf(t, report.After), bytesOf(t, report.Limit), line)
		require.Empty(t, report.Missing)
	}
	require.GreaterOrEqual(t, cleans, 2)
	t.Logf("%d images, %d pulls of %d of them, %d cleans", loadImages, sum(l.pulled), len(l.pulled), cleans)
}

func sum(counts map[int]int) (all int) {
	for _, n := range counts {
		all += n
	}
	return all
}

func bytesOf(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := humanize.ParseBytes(text)
	require.NoError(t, err)
	return n
}

// A cleaner that is killed again and again harms no pull, and its successors
// get the store below its limit.
func TestCleanerKilledUnderPulls(t *testing.T) {
	t.Parallel()
	l := startLoaded(t, 100*time.Millisecond)
	done := make(chan struct{})
	go l.watch(t, done)
	over, killed := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(killed)
		defer close(over)
		for range 8 {
			if !harness.Within(harness.Patience, func() bool { return l.Children()["registry-cache cleaner"] != 0 }) {
				t.Error("the cleaner does not come back")
				return
			}
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond) // any moment of its work
			if pid := l.Children()["registry-cache cleaner"]; pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	require.NoError(t, l.clients(t, over))
	<-killed
	c := l.HTTP(t)
	for i := range loadImages {
		require.NoError(t, l.pull(c, i))
	}
	harness.Eventually(t, func() bool { return l.Metric(t, "registry_cache_store_bytes") < 1.2*loadLimit }, "a last clean")
	close(done)
}
