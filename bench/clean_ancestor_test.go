package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// roomBlobs is the size of a store that the ancestor gets by with.
const roomBlobs = 20_000

// imageBlobs is how many blobs an image of a made store has.
const imageBlobs = 10

// measureRoom makes room on stores that hold the same: of one image, and, as
// that is what a cleaner does, of a tenth of what there is. The ancestor has
// one way for both: find the blob that was used longest ago among all, delete
// its image, and have docker-registry collect what is garbage.
func measureRoom(b *testing.B) []*series {
	harness.Require(b, "docker-registry", "find", "sort")
	size := humanize.Comma(roomBlobs) + " blobs, "
	tenth := roomBlobs / imageBlobs / 10
	one := newSeries(size+"room for one image", "ms", atMostTimes(1, ancestor))
	each := newSeries(size+fmt.Sprintf("room for %d images, each", tenth), "ms", atMostTimes(0.1, ancestor))

	c := cleaning{b, storeOf(b, roomBlobs)}
	find := finder{b, storeOf(b, roomBlobs)}
	_ = c.run("--dry-run")
	_ = find.walk()
	for range *rounds {
		used := find.makeRoom()
		one.add(ancestor, used.Seconds()*1e3)
		each.add(ancestor, used.Seconds()*1e3)
		one.add(ours, c.evict(imageBlobs).took.Seconds()*1e3)
	}
	for range coldRounds() {
		each.add(ours, c.evict(roomBlobs/10).took.Seconds()*1e3/float64(tenth))
	}
	return []*series{one, each}
}

// finder is the ancestor's way with a store.
type finder struct {
	b   *testing.B
	dir string
}

func (f finder) root() string { return filepath.Join(f.dir, "docker/registry/v2") }

// walk looks at all blobs and returns how long that took.
func (f finder) walk() time.Duration {
	f.b.Helper()
	begin := time.Now()
	out, err := exec.Command("sh", "-c",
		`find "$0" -name data -printf '%A@ %p\n' | sort -n | head -n 1`, filepath.Join(f.root(), "blobs")).Output()
	require.NoError(f.b, err)
	require.NotEmpty(f.b, out)
	return time.Since(begin)
}

// makeRoom removes the image that was used longest ago.
func (f finder) makeRoom() time.Duration {
	f.b.Helper()
	took := f.walk()
	// Which image has the blob is a question that the ancestor has no answer
	// to: that part is left out.
	revision, tag := f.oldestImage()
	before := f.blobs()
	require.NoError(f.b, os.RemoveAll(revision))
	require.NoError(f.b, os.RemoveAll(tag))
	conf := filepath.Join(f.b.TempDir(), "conf.yml")
	require.NoError(f.b, os.WriteFile(conf, fmt.Appendf(nil,
		"version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\n", f.dir), 0o600))
	took += timed(f.b, exec.Command("docker-registry", "garbage-collect", conf)).took
	require.Equal(f.b, imageBlobs, before-f.blobs())
	return took
}

// oldestImage is the last one that was made: the later, the older.
func (f finder) oldestImage() (revision, tag string) {
	f.b.Helper()
	v := taken(f.b, f.dir)
	require.NoError(f.b, v.Relate(f.b.Context()))
	oldest := v.Links[0]
	for _, l := range v.Links {
		if v.Blobs[l.Blob].Used < v.Blobs[oldest.Blob].Used {
			oldest = l
		}
	}
	repo := v.Repositories[oldest.Repository]
	manifests := filepath.Join(f.root(), "repositories", repo, "_manifests")
	tags, err := v.Tagged(repo)
	require.NoError(f.b, err)
	for _, t := range tags {
		if t.Blob == oldest.Blob {
			tag = filepath.Join(manifests, "tags", t.Name)
		}
	}
	return filepath.Join(manifests, "revisions/sha256", v.Digest(oldest.Blob).Encoded()), tag
}

func (f finder) blobs() int {
	f.b.Helper()
	return len(taken(f.b, f.dir).Blobs)
}
