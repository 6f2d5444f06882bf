package warm

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Blob is a config or a layer that a repository needs.
type Blob struct {
	Repository string
	Digest     digest.Digest
	// Size is in bytes, as the manifest has it.
	Size int64
}

// Watcher is told how far a run is, by many goroutines at once.
type Watcher interface {
	// LookedUp says how many of the manifests and blobs known so far are looked
	// up. When done is known, all are.
	LookedUp(done, known int)
	// Fetching says how many bytes are to be fetched of what is looked up so
	// far: it comes again as that grows, and not in a dry run.
	Fetching(size int64)
	// ImageBegun comes when the first blob of an image is about to be fetched,
	// with how many there are and their size. Others may still be looked up.
	ImageBegun(name string, blobs int, size int64)
	// ImageDone comes once for every image, but not in a dry run.
	ImageDone(result Result)
	// BlobBegun, BlobAt and BlobDone follow the fetch of one blob. done is in
	// bytes and may fall, when the cache has to begin again.
	BlobBegun(b Blob)
	BlobAt(b Blob, done int64)
	// BlobDone is also for one that failed.
	BlobDone(b Blob, err error)
	// Retrying says that something failed and will be tried again.
	Retrying(what string, err error, in time.Duration)
}

// Unwatched is a Watcher that nobody looks at.
type Unwatched struct{}

// LookedUp implements Watcher.
func (Unwatched) LookedUp(int, int) {}

// Fetching implements Watcher.
func (Unwatched) Fetching(int64) {}

// ImageBegun implements Watcher.
func (Unwatched) ImageBegun(string, int, int64) {}

// ImageDone implements Watcher.
func (Unwatched) ImageDone(Result) {}

// BlobBegun implements Watcher.
func (Unwatched) BlobBegun(Blob) {}

// BlobAt implements Watcher.
func (Unwatched) BlobAt(Blob, int64) {}

// BlobDone implements Watcher.
func (Unwatched) BlobDone(Blob, error) {}

// Retrying implements Watcher.
func (Unwatched) Retrying(string, error, time.Duration) {}
