package pullthrough

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

// filtersApplied is the header of the distribution spec that says which
// filters of the query were applied.
const filtersApplied = "OCI-Filters-Applied"

type fetchedReferrers struct {
	index   []byte
	status  accesslog.CacheStatus
	missing error
}

// serveReferrers answers the referrers API (OCI distribution spec 1.1): what
// refers to a manifest, such as signatures and SBOMs. An upstream without the
// API is a 404, after which clients ask for the tag that stands in for it.
func (c *Cache) serveReferrers(x *exchange, r *http.Request, q request) {
	named, err := reference.WithName(q.name)
	var index []byte
	if err == nil {
		index, err = c.repository(named).listReferrers(r.Context(), x, q.digest)
	}
	artifactType := r.URL.Query().Get("artifactType")
	if err == nil && artifactType != "" {
		if index, err = filterReferrers(index, artifactType); err == nil {
			x.w.Header().Set(filtersApplied, "artifactType")
		}
	}
	if err != nil {
		_ = errcode.ServeJSON(x.w, x.fail(err, errcode.ErrorCodeManifestUnknown))
		return
	}
	h := x.w.Header()
	h.Set("Content-Type", v1.MediaTypeImageIndex)
	h.Set("Content-Length", strconv.Itoa(len(index)))
	if r.Method != http.MethodHead {
		_, _ = x.w.Write(index)
	}
}

// listReferrers returns the index of what refers to d, with the rules of tags:
// trusted for TagMaxAge, and stale for StaleIfError while the upstream fails.
func (r *repository) listReferrers(ctx context.Context, x *exchange, d digest.Digest) ([]byte, error) {
	key := r.name + "#" + d.String()
	// In this order: what was asked for in between is in the store, too.
	known, ok := r.states.Get(key)
	stored, written, err := r.store.Referrers(r.name, d)
	have := err == nil
	switch {
	case r.offline && !have:
		return nil, r.offlineError("the list of referrers of "+d.String(), errcode.ErrorCodeManifestUnknown)
	case r.offline:
		x.answer(accesslog.Hit, noCache)
		return stored, nil
	case ok && known.missing != nil && known.age() < maxMissing:
		return nil, known.missing
	case ok && known.missing == nil && have && known.age() < r.settings.TagMaxAge:
		x.answer(accesslog.Hit, maxAge(r.settings.TagMaxAge-known.age()))
		return stored, nil
	case !ok:
		known.checked = written
	}
	have = have && known.missing == nil && r.mayBeStale(known)
	if have && r.circuit.blocks(nil) {
		x.answer(accesslog.Stale, staleOnly)
		return stored, nil
	}
	if have {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	got, joined, err := r.referrers.wait(ctx, key, func(ctx context.Context) (fetchedReferrers, error) {
		return r.fetchReferrers(ctx, d, key)
	})
	switch {
	case err != nil && have:
		x.answer(accesslog.Stale, staleOnly)
		return stored, nil
	case err != nil:
		return nil, err
	case got.missing != nil:
		return nil, got.missing
	case joined && got.status == accesslog.Miss:
		got.status = accesslog.Collapsed
	}
	x.answer(got.status, maxAge(r.settings.TagMaxAge))
	return got.index, nil
}

// fetchReferrers asks the upstream and keeps the answer. It tells the circuit
// nothing: an upstream without the API may answer anything.
func (r *repository) fetchReferrers(ctx context.Context, d digest.Digest, key string) (fetchedReferrers, error) {
	index, err := r.upstream.Referrers(ctx, r.remote, d)
	if err == nil {
		_, err = parseReferrers(index)
	}
	switch upstream.KindOf(err) {
	case upstream.NotFound, upstream.Invalid:
		// Nonsense (a web page, an error of another API) means that the upstream
		// lacks this API as clearly as a 404 does.
		if upstream.KindOf(err) == upstream.Invalid {
			err = &upstream.Error{
				Upstream: r.settings.Name, Op: "list the referrers of " + r.remote + "@" + d.String(),
				Kind: upstream.NotFound, Err: errors.New("it does not have the referrers API"),
			}
		}
		r.states.Add(key, state{missing: err, checked: time.Now()})
		return fetchedReferrers{missing: err}, nil
	}
	if err != nil {
		return fetchedReferrers{}, err
	}
	defer func() { r.states.Add(key, state{checked: time.Now()}) }()
	if stored, _, err := r.store.Referrers(r.name, d); err == nil && bytes.Equal(stored, index) {
		return fetchedReferrers{index: index, status: accesslog.Revalidated}, nil
	}
	status := accesslog.Miss
	if err := r.store.PutReferrers(r.name, d, index); err != nil {
		r.fills.StoreFailed(err)
		status = accesslog.Passed
	}
	return fetchedReferrers{index: index, status: status}, nil
}

// referrersIndex keeps what it does not know.
type referrersIndex map[string]json.RawMessage

func parseReferrers(index []byte) (referrersIndex, error) {
	var doc referrersIndex
	err := json.Unmarshal(index, &doc)
	if err == nil && doc["manifests"] == nil {
		err = errors.New("an index without manifests")
	}
	if err != nil {
		return nil, &upstream.Error{Op: "list referrers", Kind: upstream.Invalid, Err: err}
	}
	return doc, nil
}

// filterReferrers keeps the entries of one artifact type.
func filterReferrers(index []byte, artifactType string) ([]byte, error) {
	doc, err := parseReferrers(index)
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(doc["manifests"], &entries); err != nil {
		return nil, fmt.Errorf("filter referrers: %w", err)
	}
	kept := []json.RawMessage{}
	for _, e := range entries {
		var desc v1.Descriptor
		if json.Unmarshal(e, &desc) == nil && desc.ArtifactType == artifactType {
			kept = append(kept, e)
		}
	}
	if doc["manifests"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}
