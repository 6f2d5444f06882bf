package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"registrycache/e2e/harness"
	"registrycache/images"
	"registrycache/images/imagestest"
)

// store is what it costs to keep the store below its limit.
var store = section{
	name: "store", title: "Store", beside: []string{ancestor},
	rows: []row{
		{"Full", measureFullStore},
		{"Room", measureRoom},
	},
}

func BenchmarkClean(b *testing.B) { store.run(b) }

// ofMillion scales what is asked of a store of a million blobs to that of this
// run, which may be smaller.
func ofMillion(limit float64) goal { return atMostOf(limit * float64(*blobs) / 1e6) }

// measureFullStore has the cache look at a large store and clean it.
func measureFullStore(b *testing.B) []*series {
	size := humanize.Comma(int64(*blobs)) + " blobs, "
	scan := newSeries(size+"scan and plan", "s", ofMillion(10))
	scanCPU := newSeries(size+"scan and plan, CPU", "s", none(""))
	memory := newSeries(size+"memory for it", "MiB RSS", atMostOf(300))
	nothing := newSeries(size+"a look with nothing to do", "ms", atMostOf(10))
	tenth := humanize.Comma(int64(*blobs / 10))
	evict := newSeries(size+"scan, plan and evict "+tenth, "s", ofMillion(30))
	evictCPU := newSeries(size+"scan, plan and evict "+tenth+", CPU", "s", none(""))

	dir := storeOf(b, *blobs)
	c := cleaning{b, dir}
	plan := []string{"--dry-run", "--to", fmt.Sprint(c.allButSome(*blobs / 10))} // names what would go
	for range 2 {
		c.run(plan...) // what it reads is in memory then, if there is room
	}
	for range coldRounds() {
		used := c.run(plan...)
		scan.add(ours, used.took.Seconds())
		scanCPU.add(ours, used.cpu.Seconds())
		memory.add(ours, float64(used.memory)/miB)
	}
	for _, took := range c.looks(*rounds) {
		nothing.add(ours, took.Seconds()*1e3)
	}
	for range coldRounds() {
		used := c.evict(*blobs / 10)
		evict.add(ours, used.took.Seconds())
		evictCPU.add(ours, used.cpu.Seconds())
	}
	return []*series{scan, scanCPU, memory, nothing, evict, evictCPU}
}

// storeOf makes a store on the disk.
func storeOf(b *testing.B, blobs int) string {
	b.Helper()
	dir := harness.TempDir(b)
	b.Cleanup(func() { removeParts(b, dir) })
	imagestest.Make(b, dir, imagestest.OfBlobs(blobs))
	syscall.Sync() // what it wrote is not to be paid for by what is measured
	return dir
}

// removeParts removes a large store, several directories at once.
func removeParts(b *testing.B, dir string) {
	b.Helper()
	var parts errgroup.Group
	parts.SetLimit(4)
	for _, pattern := range []string{"blobs/*/*", "repositories/*/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, "docker/registry/v2", pattern))
		require.NoError(b, err)
		for _, path := range paths {
			parts.Go(func() error { return os.RemoveAll(path) })
		}
	}
	require.NoError(b, parts.Wait())
}

// cleaning runs registry-cache clean on a store.
type cleaning struct {
	b   *testing.B
	dir string
}

// spent is what a program used.
type spent struct {
	// took is from its start to its end, and cpu what it had of processors.
	took, cpu time.Duration
	// memory is the most it had, in bytes.
	memory int64
}

func (c cleaning) run(args ...string) spent {
	c.b.Helper()
	cmd := exec.Command(harness.Binary, append([]string{"clean"}, args...)...)
	cmd.Env = []string{"REGISTRYDIR=" + c.dir, "RUNDIR=" + c.dir + "-run", "CLEANER_MAXSIZE=1PB", "CLEANER_MIN_FREE=off"}
	return timed(c.b, cmd)
}

// timed runs a program to its end.
func timed(b *testing.B, cmd *exec.Cmd) spent {
	b.Helper()
	output, err := os.CreateTemp(b.TempDir(), "")
	require.NoError(b, err)
	defer func() { _ = output.Close() }()
	cmd.Stdout, cmd.Stderr = output, output
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		text, _ := os.ReadFile(output.Name())
		b.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	state := cmd.ProcessState
	return spent{took, state.UserTime() + state.SystemTime(), state.SysUsage().(*syscall.Rusage).Maxrss << 10}
}

// looks starts the cache on the store and returns how long its cleaner takes to
// find that there is nothing to do, once it knows what there is.
func (c cleaning) looks(n int) (took []time.Duration) {
	c.b.Helper()
	a := harness.Start(c.b, harness.Options{
		Upstreams: map[string]harness.Settings{"quay.io": {"url": "http://127.0.0.1:1"}},
		Env: map[string]string{
			"REGISTRYDIR": c.dir, "CLEANER_MAXSIZE": "1PB", "CLEANER_MIN_FREE": "1MB", "CLEANER_RUNEVERY_TIME": "1s",
		},
	})
	defer a.Stop()
	last := 0.0
	for len(took) < n+1 {
		harness.Eventually(c.b, func() bool {
			now := a.Metric(c.b, "registry_cache_last_clean_timestamp_seconds")
			defer func() { last = now }()
			return now != last && now > 0
		}, "the cleaner has looked")
		seconds := a.Metric(c.b, "registry_cache_last_clean_duration_seconds")
		took = append(took, time.Duration(seconds*float64(time.Second)))
	}
	return took[1:] // the first one walked the store
}

// evict removes so many blobs.
func (c cleaning) evict(blobs int) spent {
	c.b.Helper()
	before := len(taken(c.b, c.dir).Blobs)
	used := c.run("--to", fmt.Sprint(c.allButSome(blobs)))
	require.Equal(c.b, blobs, before-len(taken(c.b, c.dir).Blobs))
	return used
}

// allButSome is the size of the store without so many blobs, each of which
// takes the same of the disk.
func (c cleaning) allButSome(blobs int) (size int64) {
	c.b.Helper()
	held := taken(c.b, c.dir).Blobs
	for _, blob := range held {
		size += blob.Allocated
	}
	return size - size/int64(len(held))*int64(blobs)
}

// taken lists what a store holds.
func taken(b *testing.B, dir string) *images.Inventory {
	b.Helper()
	s, err := images.OpenExisting(dir)
	require.NoError(b, err)
	v, err := s.Take(b.Context())
	require.NoError(b, err)
	return v
}
