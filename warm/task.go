package warm

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// task is one image on its way. The run's lock guards it once it is looked up.
type task struct {
	image     Image
	platforms []string
	notes     []string
	// err is why it could not be looked up.
	err   error
	needs []claim
	// pending of its needs are not settled.
	pending int
	begun   bool
	told    bool
	looking time.Duration
	// from and to are when the fetches of its blobs began and ended.
	from, to time.Time
}

// claim is a need of one image.
type claim struct {
	*need
	// first says that no image before it in the list has the same need, so that
	// the bytes are counted for this one.
	first bool
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
	// open is a blob that is not settled.
	open outcome = iota
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
}

func (n *need) key() needKey { return needKey{n.Repository, n.Digest} }

// result is what became of the image; what is still open was not got to.
func (t *task) result() Result {
	r := Result{Image: t.image, Platforms: t.platforms, Notes: t.notes, Err: t.err, Took: t.looking}
	if !t.from.IsZero() {
		r.Took += t.to.Sub(t.from)
	}
	failures := 0
	var first error
	for _, n := range t.needs {
		r.Blobs++
		r.Size += n.Size
		switch {
		case n.outcome == failed:
			failures++
			if first == nil || errors.Is(first, ErrInterrupted) {
				first = fmt.Errorf("blob %s: %w", short(n.Digest), n.err)
			}
		case n.outcome == here || n.outcome == fetched && !n.first:
			r.Here += n.Size
		default:
			r.Fetched += n.Size
		}
	}
	switch {
	case r.Err != nil || failures == 0:
	case errors.Is(first, ErrInterrupted):
		r.Err = ErrInterrupted
	case failures == 1:
		r.Err = first
	default:
		r.Err = fmt.Errorf("%w (and %d more)", first, failures-1)
	}
	return r
}

// short is a digest as people tell them apart.
func short(d digest.Digest) string {
	const digits = 12
	if e := d.Encoded(); len(e) > digits {
		return d.Algorithm().String() + ":" + e[:digits]
	}
	return d.String()
}
