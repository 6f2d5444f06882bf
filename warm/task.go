package warm

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// task is one image on its way. The run's lock guards it once its manifests are
// looked up.
type task struct {
	image Image
	// place is its place in the list.
	place     int
	platforms []string
	notes     []string
	// err is why it could not be looked up.
	err   error
	needs []*need
	// unknown of its needs are not looked up, pending are not settled.
	unknown, pending int
	// ready says that all of it is looked up, begun and told that whoever
	// watches knows of its beginning and its end.
	ready, begun, told bool
	// began is when its lookup did, which took looking.
	began   time.Time
	looking time.Duration
	// from and to are when the fetches of its blobs began and ended.
	from, to time.Time
}

// earlier is which of two stands before the other in the list. a may be nil.
func earlier(a, b *task) *task {
	if a == nil || b.place < a.place {
		return b
	}
	return a
}

// needKey tells needs apart: the cache gives a blob to the repositories that
// it knows to have it.
type needKey struct {
	repository string
	digest     digest.Digest
}

// outcome is what became of a blob.
type outcome int

const (
	// unknown is a blob that is not looked up.
	unknown outcome = iota
	// open is one that is not here, and not settled.
	open
	here
	fetched
	failed
)

// need is a blob that a repository of the list needs.
type need struct {
	Blob
	outcome outcome
	err     error
	tasks   []*task
	// first of the tasks in the list: the bytes are counted for it.
	first *task
	// queued says that it is among those to be fetched, begun that its turn came.
	queued, begun bool
}

func (n *need) key() needKey { return needKey{n.Repository, n.Digest} }

// result is what became of an image; what is still open was not got to.
func (r *run) result(t *task) Result {
	done := Result{Image: t.image, Platforms: t.platforms, Notes: t.notes, Err: t.err, Took: t.looking}
	if !t.from.IsZero() {
		done.Took += t.to.Sub(t.from)
	}
	failures := 0
	var first error
	for _, n := range t.needs {
		done.Blobs++
		done.Size += n.Size
		switch {
		case n.outcome == failed:
			failures++
			if first == nil || errors.Is(first, ErrInterrupted) {
				first = fmt.Errorf("blob %s: %w", short(n.Digest), n.err)
			}
		case n.outcome == here, n.outcome == fetched && n.first != t, n.outcome == open && r.first[n.Digest] != t:
			done.Here += n.Size
		default:
			done.Fetched += n.Size
		}
	}
	switch {
	case done.Err != nil || failures == 0:
	case errors.Is(first, ErrInterrupted):
		done.Err = ErrInterrupted
	case failures == 1:
		done.Err = first
	default:
		done.Err = fmt.Errorf("%w (and %d more)", first, failures-1)
	}
	return done
}

// short is a digest as people tell them apart.
func short(d digest.Digest) string {
	const digits = 12
	if e := d.Encoded(); len(e) > digits {
		return d.Algorithm().String() + ":" + e[:digits]
	}
	return d.String()
}
