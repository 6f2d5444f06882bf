package logger

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/images"
	"registrycache/logger/accesslog"
	"registrycache/logger/generations"
)

const (
	// again is how long a use stands for further ones of the same blob. It costs
	// an inode written now and then. A store that is small for what is pulled
	// turns over within minutes, so a minute would be too rough a clock for it.
	again = 10 * time.Second
	// maxBumped and maxNeeds bound the memory: blobs bumped of late, and
	// digests that manifests need, each about 100 bytes, in two halves.
	maxBumped = 32 << 10
	maxNeeds  = 32 << 10
	// reportEvery is how often failures are reported at most.
	reportEvery = time.Minute
)

// uses turns records of the access log into access times. It is for one
// goroutine.
type uses struct {
	store      *images.Store
	log        zerolog.Logger
	metrics    *metrics
	bumped     *generations.Map[digest.Digest, time.Time]
	needs      *generations.Map[digest.Digest, images.Needs]
	reportedAt time.Time
}

func newUses(store *images.Store, log zerolog.Logger, m *metrics) *uses {
	return &uses{
		store: store, log: log, metrics: m,
		bumped: generations.New[digest.Digest, time.Time](maxBumped),
		needs:  generations.New[digest.Digest, images.Needs](maxNeeds),
	}
}

// record touches what a request made use of, and says whether it did.
func (u *uses) record(r accesslog.Record) bool {
	d, ok := used(r)
	if !ok {
		return false
	}
	t := r.Time
	if now := time.Now(); t.After(now) {
		t = now // a wrong clock must not keep a blob for ever
	}
	if r.Kind == "manifests" {
		u.image(d, t)
	} else {
		u.touch(d, t)
	}
	return true
}

// used returns the digest that a request made use of, if it did.
func used(r accesslog.Record) (digest.Digest, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", false
	}
	if r.Status/100 != 2 && r.Status != http.StatusNotModified {
		return "", false
	}
	if r.Kind != "manifests" && r.Kind != "blobs" {
		return "", false
	}
	d := digest.Digest(r.Digest)
	return d, d.Validate() == nil
}

// image touches a manifest and all it needs, as far as it is here.
func (u *uses) image(d digest.Digest, t time.Time) {
	if !u.touch(d, t) {
		return
	}
	needs, ok := u.needsOf(d)
	if !ok {
		return // evicted at this moment, or not a manifest
	}
	for _, m := range needs.Manifests {
		u.image(m, t)
	}
	for _, b := range needs.Blobs {
		u.touch(b, t)
	}
}

func (u *uses) needsOf(d digest.Digest) (images.Needs, bool) {
	needs, ok := u.needs.Get(d)
	if !ok {
		var err error
		if needs, err = u.store.Needs(d); err != nil {
			return needs, false
		}
	}
	u.needs.Put(d, needs, 1+len(needs.Manifests)+len(needs.Blobs))
	return needs, true
}

// listed says whether an index lists a manifest, or can't be asked.
func (u *uses) listed(index, manifest string) bool {
	d := digest.Digest(index)
	if d.Validate() != nil {
		return true
	}
	needs, ok := u.needsOf(d)
	return !ok || slices.Contains(needs.Manifests, digest.Digest(manifest))
}

// touch records the use of a blob and says whether that was news: not if it is
// not here, nor within so short a time of the last.
func (u *uses) touch(d digest.Digest, t time.Time) bool {
	if last, ok := u.bumped.Get(d); ok && t.Sub(last) < again {
		return false
	}
	err := u.store.Touch(d, t)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	u.bumped.Put(d, t, 1)
	if err != nil {
		u.metrics.failed.Inc()
		u.report(err)
		return true
	}
	u.metrics.touches.Inc()
	return true
}

func (u *uses) report(err error) {
	if time.Since(u.reportedAt) < reportEvery {
		return
	}
	u.reportedAt = time.Now()
	event := u.log.Error().Err(err)
	if errors.Is(err, fs.ErrPermission) {
		event.Msg("uses can't be recorded, so eviction follows the time of the fetch: the store must belong to the user the cache runs as (chown -R it)")
		return
	}
	event.Msg("uses can't be recorded, so eviction follows the time of the fetch")
}
