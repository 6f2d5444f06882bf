package hosted

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
)

// filtersApplied is the header of the distribution spec that says which
// filters of the query were applied.
const filtersApplied = "OCI-Filters-Applied"

// maxRepositories is of how many repositories it is remembered what refers to
// what.
const maxRepositories = 1000

// referrers knows which manifests have which subject. It reads the manifests of
// a repository when it is first asked for it; later ones it is told. What was
// deleted since is still in it: who asks must look.
type referrers struct {
	store *images.Store

	mu    sync.Mutex
	known map[string]subjects // by repository
}

// subjects are the manifests that refer to each.
type subjects map[digest.Digest][]digest.Digest

func (s subjects) add(subject, from digest.Digest) {
	if subject != "" && !slices.Contains(s[subject], from) {
		s[subject] = append(s[subject], from)
	}
}

func newReferrers(store *images.Store) *referrers {
	return &referrers{store: store, known: map[string]subjects{}}
}

// add takes note of a manifest that is in the store by now.
func (r *referrers) add(repo string, subject, from digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, read := r.known[repo]; read {
		known.add(subject, from)
	}
}

// of returns the manifests of a repository that have the subject, or had it
// before they were deleted.
func (r *referrers) of(ctx context.Context, repo string, subject digest.Digest) ([]digest.Digest, error) {
	// Held while it reads: what is added meanwhile is not missed.
	r.mu.Lock()
	defer r.mu.Unlock()
	known, read := r.known[repo]
	if !read {
		known = subjects{}
		err := r.store.EachManifest(ctx, repo, func(d digest.Digest) error {
			payload, _, err := r.store.Manifest(repo, d)
			if err != nil {
				return nil // deleted at this moment, or damaged
			}
			if doc, err := images.ParseManifest(payload); err == nil && doc.Subject != nil {
				known.add(doc.Subject.Digest, d)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(r.known) >= maxRepositories {
			clear(r.known)
		}
		r.known[repo] = known
	}
	return slices.Clone(known[subject]), nil
}

// listReferrers answers the referrers API (OCI distribution spec 1.1). What
// nothing refers to, here or not, has an empty list.
func (h *handler) listReferrers(w http.ResponseWriter, q request) {
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, errcode.ErrorCodeUnsupported.WithMessage("referrers are listed; push a manifest with a subject to add one"))
		return
	}
	from, err := h.referrers.of(q.Context(), q.repository, q.digest)
	if err != nil {
		h.fail(w, q, err)
		return
	}
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{},
	}
	wanted := q.URL.Query().Get("artifactType")
	if wanted != "" {
		w.Header().Set(filtersApplied, "artifactType")
	}
	for _, d := range from {
		desc, err := h.referrer(q.repository, d)
		if err == nil && (wanted == "" || desc.ArtifactType == wanted) { // else it was deleted
			index.Manifests = append(index.Manifests, desc)
		}
	}
	body, err := json.Marshal(index)
	if err != nil {
		h.fail(w, q, err)
		return
	}
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if q.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
}

// referrer describes a manifest as the list has it.
func (h *handler) referrer(repo string, d digest.Digest) (v1.Descriptor, error) {
	payload, mediaType, err := h.store.Manifest(repo, d)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var doc struct {
		ArtifactType string            `json:"artifactType"`
		Config       v1.Descriptor     `json:"config"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		return v1.Descriptor{}, err
	}
	if doc.ArtifactType == "" {
		doc.ArtifactType = doc.Config.MediaType
	}
	return v1.Descriptor{
		MediaType: mediaType, Digest: d, Size: int64(len(payload)),
		ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
	}, nil
}
