package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// lookup finds out what an image consists of, and what of it is here.
func (r *run) lookup(ctx context.Context, t *task) {
	t.began = time.Now()
	blobs, err := r.describe(ctx, t)
	for _, n := range r.claim(ctx, t, blobs, err) {
		r.lookups.add(func() { r.locate(ctx, n) })
	}
	r.lookedUp()
}

// claim notes what an image needs, and returns what no image before needs, too.
func (r *run) claim(ctx context.Context, t *task, blobs []Blob, err error) []*need {
	r.found(len(blobs))
	r.mu.Lock()
	defer r.mu.Unlock()
	t.err = err
	var fresh []*need
	shared := 0
	for _, b := range blobs {
		n := &need{Blob: b}
		if known := r.needs[n.key()]; known != nil {
			n = known
			shared++
		} else {
			r.needs[n.key()] = n
			fresh = append(fresh, n)
		}
		t.needs = append(t.needs, n)
		n.tasks = append(n.tasks, t)
		n.first = earlier(n.first, t)
		r.first[b.Digest] = earlier(r.first[b.Digest], t)
		switch n.outcome {
		case unknown:
			t.unknown++
		case open:
			t.pending++
		}
	}
	if t.unknown == 0 {
		r.ready(ctx, t)
	}
	r.count(shared, 0)
	return fresh
}

// locate finds out whether a blob is here.
func (r *run) locate(ctx context.Context, n *need) {
	is, err := r.isHere(ctx, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		n.outcome, n.err = failed, err
	case is:
		n.outcome = here
	default:
		n.outcome = open
	}
	for _, t := range n.tasks {
		t.unknown--
		if n.outcome == open {
			t.pending++
		}
		if t.unknown == 0 {
			r.ready(ctx, t)
		}
	}
	r.count(1, 0)
}

// ready has what is not here of an image fetched, now that all of it is known.
// The lock is held.
func (r *run) ready(ctx context.Context, t *task) {
	t.looking = time.Since(t.began)
	t.ready = true
	if r.opt.DryRun {
		return
	}
	for _, n := range t.needs {
		switch {
		case n.outcome != open:
		case n.begun:
			r.begin(t)
		case !n.queued:
			r.queue(ctx, n)
		}
	}
	r.tell(t)
}

// isHere says whether the cache has a blob. In a real run an answer that is an
// error counts as no: the fetch will hear why, as a HEAD never does.
func (r *run) isHere(ctx context.Context, n *need) (is bool, err error) {
	try := func(ctx context.Context) error {
		var err error
		is, err = r.cache.stat(ctx, n.Repository, n.Digest)
		return err
	}
	if r.opt.DryRun {
		err = r.persist(ctx, r.lookups.pause, n.Repository+" "+short(n.Digest), try)
	} else if err = try(ctx); ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	var refusal *Refusal
	var transport *transportError
	if !r.opt.DryRun && (errors.As(err, &refusal) || errors.As(err, &transport)) {
		return false, nil
	}
	return is, err
}

// maxDepth is how deep indexes may lie in indexes, and maxManifests how many
// manifests one image may have: far more than any has.
const (
	maxDepth     = 4
	maxManifests = 2000
)

// describe gets the manifests of an image and returns the blobs they name, each
// once.
func (r *run) describe(ctx context.Context, t *task) ([]Blob, error) {
	d := description{run: r, task: t, seen: map[digest.Digest]bool{}}
	if err := d.add(ctx, t.image.Reference, 0); err != nil {
		return d.blobs, err
	}
	if d.foreign > 0 {
		t.notes = append(t.notes, fmt.Sprintf("%d foreign layers left out: clients fetch them from where they are", d.foreign))
	}
	return d.blobs, nil
}

// description gathers what an image consists of.
type description struct {
	*run
	task      *task
	seen      map[digest.Digest]bool
	blobs     []Blob
	manifests int
	foreign   int
}

func (d *description) add(ctx context.Context, ref string, depth int) error {
	if d.manifests++; depth > maxDepth || d.manifests > maxManifests {
		return errors.New("it has more manifests, or deeper ones, than the cache can be warmed with")
	}
	repository := d.task.image.Repository
	var payload []byte
	var mediaType string
	err := d.persist(ctx, d.lookups.pause, d.task.image.Name, func(ctx context.Context) (err error) {
		payload, mediaType, err = d.cache.manifest(ctx, repository, ref)
		return err
	})
	if err == nil {
		var m manifest
		if m, err = parseManifest(payload); err == nil {
			if m.Manifests != nil || isIndex(mediaType) {
				return d.addIndex(ctx, m, depth)
			}
			d.addBlobs(m.blobs())
		}
	}
	if err != nil && depth > 0 && ctx.Err() == nil {
		return fmt.Errorf("manifest %s: %w", short(digest.Digest(ref)), err)
	}
	return err
}

// addIndex adds what is wanted of an index. One entry that fails keeps no other
// from being added.
func (d *description) addIndex(ctx context.Context, m manifest, depth int) error {
	c, err := choose(m.Manifests, d.opt.Platforms)
	if err != nil {
		return err
	}
	for _, p := range c.missing {
		d.task.notes = append(d.task.notes, "there is nothing for "+p.String())
	}
	d.found(len(c.chosen))
	var first error
	for _, entry := range c.chosen {
		if text := platformOf(entry); text != "" && entry.Platform.OS != attested && !slices.Contains(d.task.platforms, text) {
			d.task.platforms = append(d.task.platforms, text)
		}
		if !d.seen[entry.Digest] {
			d.seen[entry.Digest] = true
			if err := d.add(ctx, entry.Digest.String(), depth+1); first == nil {
				first = err
			}
		}
		d.lookedUp()
	}
	return first
}

func (d *description) addBlobs(blobs []v1.Descriptor) {
	for _, b := range blobs {
		switch {
		case d.seen[b.Digest]:
		case isForeign(b):
			d.foreign++
		default:
			d.blobs = append(d.blobs, Blob{Repository: d.task.image.Repository, Digest: b.Digest, Size: b.Size})
		}
		d.seen[b.Digest] = true
	}
}

// found and lookedUp count.
func (r *run) found(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(0, n)
}

func (r *run) lookedUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(1, 0)
}

// count needs the lock.
func (r *run) count(looked, known int) {
	r.looked += looked
	r.known += known
	r.watch.LookedUp(r.looked, r.known)
}
