package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Verifying says how Verify goes about it.
type Verifying struct {
	// Rate is how many bytes a second are read at most; 0 is no limit.
	Rate int64
	// DryRun leaves the bad where they are.
	DryRun bool
	// Progress, when given, counts what is done while it is done.
	Progress *VerifyProgress
	// Found, when given, is told of each bad blob, one after the other.
	Found func(BadBlob)
}

// VerifyProgress may be read while Verify runs. Bytes are disk space.
type VerifyProgress struct{ Blobs, Bytes atomic.Int64 }

// Verified is what a Verify found.
type Verified struct {
	// Blobs were read to their end, Bytes in all.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Left is how many were not, since it was told to end.
	Left int `json:"left,omitempty"`
	// Bad are those whose content is not what their digest says.
	Bad []BadBlob `json:"bad"`
	// Failed could not be read, or not be removed, and are where they were.
	Failed []FailedBlob `json:"failed,omitempty"`
	// Used counts files of another user, whose last use is now the moment they
	// were read, if the file system records that.
	Used int `json:"used,omitempty"`
	// Removed is the disk space of the bad that went.
	Removed int64 `json:"removedBytes"`
}

// BadBlob has other bytes than its digest says.
type BadBlob struct {
	Digest digest.Digest `json:"digest"`
	// Size is that of the file, and Content the digest of what is in it, or
	// empty if the disk can't read it.
	Size    int64         `json:"size"`
	Content digest.Digest `json:"content,omitempty"`
	// Images are the names of those that need it.
	Images []string `json:"images"`
	// Dropped says that it is gone, so that the next pull fetches it again.
	Dropped bool `json:"dropped"`
}

// FailedBlob could not be verified, or not be dropped.
type FailedBlob struct {
	Digest digest.Digest `json:"digest"`
	Error  string        `json:"error"`
}

// Verify reads the blobs of an inventory and drops those whose content is not
// what their digest says, so that the next pull fetches them again. It reads
// past the page cache where the file system can do that, so that what is on
// the disk is checked, and what is hot in memory stays there; and it does not
// count as a use. It may run beside pulls and be killed at any moment. When the
// context ends it returns what it found so far.
func (v *Inventory) Verify(ctx context.Context, o Verifying) (Verified, error) {
	if o.Progress == nil {
		o.Progress = &VerifyProgress{}
	}
	w := verifier{Verifying: o, store: v.store}
	p := newPace(o.Rate)
	// Hashing takes a processor, reading the disk: more only get in the way of
	// pulls.
	readers := min(4, max(2, runtime.GOMAXPROCS(0)))
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range readers {
		group.Go(func() error {
			r, err := newBlobReader(p)
			if err != nil {
				return err
			}
			defer r.close()
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(v.Blobs)) {
					break
				}
				w.verify(ctx, r, v.Digest(int32(i)), v.Blobs[i].Allocated)
			}
			return nil
		})
	}
	err := group.Wait()
	w.found.Left = len(v.Blobs) - int(o.Progress.Blobs.Load())
	byDigest := func(a, b digest.Digest) int { return strings.Compare(a.String(), b.String()) }
	slices.SortFunc(w.found.Bad, func(a, b BadBlob) int { return byDigest(a.Digest, b.Digest) })
	slices.SortFunc(w.found.Failed, func(a, b FailedBlob) int { return byDigest(a.Digest, b.Digest) })
	return w.found, err
}

// verifier is one Verify.
type verifier struct {
	Verifying
	store *Store

	mu    sync.Mutex
	found Verified
	names *nameFinder
}

// verify deals with one blob of about so many bytes.
func (w *verifier) verify(ctx context.Context, r *blobReader, d digest.Digest, size int64) {
	path := w.store.BlobPath(d)
	counted := int64(0)
	count := func(n int64) {
		n = min(n, size-counted) // a file with holes is longer than it is large
		counted += n
		w.Progress.Bytes.Add(n)
	}
	got, err := r.read(ctx, path, d.Algorithm(), count)
	if spoilt(d, got, err) {
		// Read it again: memory and cables spoil bytes, too.
		once := got.content
		got, err = r.read(ctx, path, d.Algorithm(), func(int64) {})
		if err == nil && got.content == d {
			err = fmt.Errorf("read as %q once, and then as it should be: look at memory and disk", once)
		}
	}
	if ctx.Err() != nil {
		return
	}
	w.Progress.Bytes.Add(size - counted)
	w.Progress.Blobs.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if got.used {
		w.found.Used++
	}
	switch {
	case spoilt(d, got, err):
		w.bad(ctx, d, got)
	case errors.Is(err, fs.ErrNotExist):
		return // evicted meanwhile
	case err != nil:
		w.failed(d, err)
		return
	}
	w.found.Blobs++
	w.found.Bytes += got.size
}

// spoilt says whether what was read is not the blob, or can't be read from the
// disk: no pull can, either.
func spoilt(d digest.Digest, got blobContent, err error) bool {
	return errors.Is(err, unix.EIO) || err == nil && got.content != d
}

func (w *verifier) failed(d digest.Digest, err error) {
	w.found.Failed = append(w.found.Failed, FailedBlob{d, err.Error()})
}

// bad drops a blob that was read twice and reports it.
func (w *verifier) bad(ctx context.Context, d digest.Digest, got blobContent) {
	if w.names == nil {
		w.names = newNameFinder(ctx, w.store)
	}
	// Before it goes: a manifest that is gone has no name.
	b := BadBlob{Digest: d, Size: got.file.size, Content: got.content, Images: w.names.of(d)}
	if !w.DryRun {
		switch dropped, err := w.store.dropExactly(d, got.file); {
		case err != nil:
			w.failed(d, err)
		case !dropped:
			return // replaced or evicted meanwhile: it was bad, and is no more
		default:
			b.Dropped = true
			w.found.Removed += got.allocated
		}
	}
	w.found.Bad = append(w.found.Bad, b)
	if w.Found != nil {
		w.Found(b)
	}
}
