package pullthrough

import (
	"context"
	"errors"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"

	"registrycache/config"
	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

const (
	// maxMissing is how long the upstream's "not found" is believed.
	maxMissing = 10 * time.Second
	// patience is how long a client waits for a slow upstream when there is a
	// stale answer.
	patience = 3 * time.Second
	// confirmParts is in how many parts of StaleIfError the time of an
	// unchanged tag is written down: it must survive a restart, but a write for
	// each check would be too much.
	confirmParts = 8
)

var errSlow = errors.New("no answer within " + patience.String())

// state is what the upstream last said about a tag or about the referrers of a
// digest.
type state struct {
	// digest is the tag's; empty for referrers.
	digest digest.Digest
	// missing is the upstream's word that there is no such thing.
	missing error
	checked time.Time
}

func (s state) age() time.Duration { return time.Since(s.checked) }

// tagCheck is what a check with the upstream brought: the manifest, or its
// word that there is no such tag.
type tagCheck struct {
	manifest *manifest
	status   accesslog.CacheStatus
	missing  error
}

// tagAnswer is what a tag is answered with. The manifest is nil when it was not
// needed to decide.
type tagAnswer struct {
	digest   digest.Digest
	manifest *manifest
	status   accesslog.CacheStatus
	// keep is the answer's Cache-Control.
	keep string
}

// resolve finds out what a tag means now.
func (r *repository) resolve(ctx context.Context, tag string) (tagAnswer, error) {
	known, ok := r.known(tag)
	switch {
	case r.offline:
		if ok && known.missing == nil && r.whole(known.digest) {
			return tagAnswer{digest: known.digest, status: accesslog.Hit, keep: noCache}, nil
		}
		return tagAnswer{}, r.offlineError("manifest "+r.remote+":"+tag, errcode.ErrorCodeManifestUnknown)
	case ok && known.missing != nil && known.age() < maxMissing:
		return tagAnswer{}, known.missing
	case ok && known.missing == nil && known.age() < r.settings.TagMaxAge:
		return tagAnswer{digest: known.digest, status: accesslog.Hit, keep: maxAge(r.settings.TagMaxAge - known.age())}, nil
	case ok && known.missing == nil && known.age() < r.settings.TagMaxAge+r.settings.StaleWhileRevalidate:
		if !r.circuit.blocks(func() { r.check(tag) }) {
			r.check(tag)
		}
		return tagAnswer{digest: known.digest, status: accesslog.Stale, keep: staleOnly}, nil
	}
	if r.circuit.blocks(func() { r.check(tag) }) {
		if a, ok := r.stale(tag); ok {
			return a, nil
		}
	}
	return r.revalidate(ctx, tag)
}

// revalidate waits for a check of the tag, for no longer than it must.
func (r *repository) revalidate(ctx context.Context, tag string) (tagAnswer, error) {
	fl, joined := r.check(tag)
	slow := time.NewTimer(patience)
	defer slow.Stop()
	for {
		select {
		case <-fl.done:
			return r.checked(fl, joined, tag)
		case <-slow.C:
			if a, ok := r.stale(tag); ok {
				r.circuit.failed(errSlow, 0)
				return a, nil
			}
		case <-ctx.Done():
			return tagAnswer{}, ctx.Err()
		}
	}
}

// checked makes the answer out of a check that has ended.
func (r *repository) checked(fl *flight[tagCheck], joined bool, tag string) (tagAnswer, error) {
	if fl.err != nil {
		if a, ok := r.stale(tag); ok {
			return a, nil
		}
		return tagAnswer{}, fl.err
	}
	if fl.value.missing != nil {
		return tagAnswer{}, fl.value.missing
	}
	a := tagAnswer{
		digest: fl.value.manifest.digest, manifest: fl.value.manifest,
		status: fl.value.status, keep: maxAge(r.settings.TagMaxAge),
	}
	if joined && a.status == accesslog.Miss {
		a.status = accesslog.Collapsed
	}
	return a, nil
}

// known returns what the last check of a tag said: from memory, or from the
// store, where it may be much older.
func (r *repository) known(tag string) (state, bool) {
	if s, ok := r.states.Get(r.tagKey(tag)); ok {
		return s, true
	}
	d, at, err := r.store.Tag(r.name, tag)
	return state{digest: d, checked: at}, err == nil
}

// stale returns the known digest of a tag, if it is not too old and the image
// can be had without the upstream.
func (r *repository) stale(tag string) (tagAnswer, bool) {
	known, ok := r.known(tag)
	if !ok || known.missing != nil || !r.mayBeStale(known) || !r.whole(known.digest) {
		return tagAnswer{}, false
	}
	return tagAnswer{digest: known.digest, status: accesslog.Stale, keep: staleOnly}, true
}

// mayBeStale says whether something is young enough to be served while the
// upstream fails.
func (c *Cache) mayBeStale(s state) bool {
	return c.settings.StaleIfError == config.Always || s.age() <= c.settings.StaleIfError
}

func (r *repository) tagKey(tag string) string { return r.name + ":" + tag }

// check starts a check of the tag, or joins the one under way.
func (r *repository) check(tag string) (*flight[tagCheck], bool) {
	return r.checks.join(r.tagKey(tag), func(ctx context.Context) (tagCheck, error) {
		got, err := r.askTag(ctx, tag)
		if err != nil {
			r.metrics.checks.WithLabelValues(resultFailed).Inc()
		}
		return got, err
	})
}

// askTag asks the upstream what a tag means, and fetches the manifest when it
// is not here. Only then is the tag changed, so that a tag known here always
// had its manifest.
func (r *repository) askTag(ctx context.Context, tag string) (tagCheck, error) {
	desc, err := r.upstream.ResolveManifest(ctx, r.remote, tag)
	r.judge(err)
	if upstream.KindOf(err) == upstream.NotFound {
		r.forget(tag, err)
		return tagCheck{missing: err}, nil
	}
	if err != nil {
		return tagCheck{}, err
	}
	m, status, err := r.manifest(ctx, desc.Digest)
	if err != nil {
		return tagCheck{}, err
	}
	if status == accesslog.Hit {
		status = accesslog.Revalidated
	}
	if status != accesslog.Passed {
		r.remember(tag, desc.Digest)
	}
	r.states.Add(r.tagKey(tag), state{digest: desc.Digest, checked: time.Now()})
	return tagCheck{manifest: m, status: status}, nil
}

// judge tells the circuit what an answer says about the upstream as a whole.
// That one repository is refused or missing says that it works, and so does a
// status that is about the one request: anybody can ask for a name that this
// upstream calls a bad one.
func (r *repository) judge(err error) {
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		e = &upstream.Error{Kind: upstream.KindOf(err)}
	}
	switch {
	case e.Kind == upstream.RateLimited, e.Kind == upstream.Unavailable,
		e.Kind == upstream.Invalid && e.Status/100 != 4:
		r.circuit.failed(err, e.RetryAfter)
	default:
		r.circuit.succeeded()
	}
}

// remember writes a tag down when the store does not say so already.
func (r *repository) remember(tag string, d digest.Digest) {
	cur, at, err := r.store.Tag(r.name, tag)
	switch {
	case err != nil || cur != d:
		r.metrics.checks.WithLabelValues(resultChanged).Inc()
		err = r.store.SetTag(r.name, tag, d)
	default:
		r.metrics.checks.WithLabelValues(resultUnchanged).Inc()
		if stale := r.settings.StaleIfError; stale != config.Always && time.Since(at) > stale/confirmParts {
			err = r.store.ConfirmTag(r.name, tag)
		}
	}
	if err != nil {
		r.fills.StoreFailed(err)
	}
}

// forget is for a tag that the upstream no longer has. Its manifests may still
// be asked for by digest.
func (r *repository) forget(tag string, missing error) {
	r.metrics.checks.WithLabelValues(resultNotFound).Inc()
	r.states.Add(r.tagKey(tag), state{missing: missing, checked: time.Now()})
	if err := r.store.RemoveTag(r.name, tag); err != nil {
		r.fills.StoreFailed(err)
	}
}
