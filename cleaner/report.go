package cleaner

import (
	"cmp"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/images"
)

// Report is what a clean found and did, or would do. Sizes are disk space in
// bytes.
type Report struct {
	// Before and After are the sizes of the store, fills included.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	Limit  int64 `json:"limit"`
	// Blobs is how many went, those of images included.
	Blobs int `json:"blobs"`
	// Images went, in the order of their last use.
	Images []Evicted `json:"images"`
	// Loose is what went and was of no image.
	Loose int64 `json:"loose"`
	// Missing is how much more should have gone: Young is too new, and may go
	// in a minute.
	Missing int64 `json:"missing,omitempty"`
	Young   int64 `json:"young,omitempty"`
	// Failed counts what could not be removed, and Failure is the first reason.
	Failed  int    `json:"failed,omitempty"`
	Failure string `json:"failure,omitempty"`
	// Pinned is what stays for being pinned, and Quotas what upstreams with one
	// took before. They are known only if there was something to decide.
	Pinned int64      `json:"pinned,omitempty"`
	Quotas []QuotaUse `json:"quotas,omitempty"`
	// DiskFree is what the disk has left.
	DiskFree int64 `json:"diskFree"`
	// Oldest and Newest are the first and the last use of any blob there was.
	Oldest time.Time     `json:"oldestUse,omitzero"`
	Newest time.Time     `json:"newestUse,omitzero"`
	Swept  images.Swept  `json:"swept"`
	Took   time.Duration `json:"tookNanoseconds"`
}

// QuotaUse is what an upstream has for itself, and may have.
type QuotaUse struct {
	Path  string `json:"upstream"`
	Size  int64  `json:"size"`
	Limit int64  `json:"limit"`
}

// Evicted is an image that went.
type Evicted struct {
	// Name is repository:tag, or repository@digest of one without a tag.
	Name string    `json:"name"`
	Size int64     `json:"size"`
	Used time.Time `json:"used"`
	Why  Why       `json:"why"`
}

// eviction takes down what goes.
type eviction struct {
	*survey
	gone  []bool
	why   map[int32]Why // of manifests
	blobs int
	bytes int64
	young int64
	// failed counts what could not be removed.
	failed  int
	failure error
}

func newEviction(s *survey) *eviction {
	return &eviction{survey: s, gone: make([]bool, len(s.Blobs)), why: map[int32]Why{}}
}

func (e *eviction) add(i int32, why Why) {
	e.gone[i] = true
	e.blobs++
	e.bytes += e.Blobs[i].Allocated
	if len(e.NeedsOf(i)) > 0 || e.isManifest(i) {
		e.why[i] = why
	}
}

func (e *eviction) isManifest(i int32) bool {
	_, is := slices.BinarySearchFunc(e.Manifests, i, func(m images.HeldManifest, i int32) int { return cmp.Compare(m.Blob, i) })
	return is
}

// images names what went, and says how much went with each.
func (e *eviction) images() (list []Evicted, loose int64, err error) {
	below := map[int32]bool{}
	for i := range e.why {
		for _, n := range e.NeedsOf(i) {
			below[n.To] = true
		}
	}
	var tops []images.ManifestLink
	for _, l := range e.Links {
		if _, went := e.why[l.Blob]; went && !below[l.Blob] {
			tops = append(tops, l)
		}
	}
	slices.SortStableFunc(tops, func(a, b images.ManifestLink) int {
		return cmp.Compare(e.Blobs[a.Blob].Used, e.Blobs[b.Blob].Used)
	})
	tags := map[int32]map[int32][]string{}
	counted := make([]bool, len(e.Blobs))
	loose = e.bytes
	for _, l := range tops {
		repo := e.Repositories[l.Repository]
		if tags[l.Repository] == nil {
			tags[l.Repository] = map[int32][]string{}
			named, err := e.Tagged(repo)
			if err != nil {
				return nil, 0, err
			}
			for _, t := range named {
				tags[l.Repository][t.Blob] = append(tags[l.Repository][t.Blob], t.Name)
			}
		}
		size := e.count(l.Blob, counted)
		loose -= size
		list = append(list, Evicted{
			Name: imageName(repo, tags[l.Repository][l.Blob], e.Digest(l.Blob)),
			Size: size, Used: when(e.Blobs[l.Blob].Used), Why: e.why[l.Blob],
		})
	}
	return list, loose, nil
}

// count adds up what went with an image and was not counted for another.
func (e *eviction) count(i int32, counted []bool) (bytes int64) {
	if !e.gone[i] || counted[i] {
		return 0
	}
	counted[i] = true
	bytes = e.Blobs[i].Allocated
	for _, n := range e.NeedsOf(i) {
		bytes += e.count(n.To, counted)
	}
	return bytes
}

func imageName(repo string, tags []string, d digest.Digest) string {
	if len(tags) == 0 {
		return repo + "@" + d.String()
	}
	name := repo + ":" + tags[0]
	for _, tag := range tags[1:] {
		name += "," + tag
	}
	return name
}

// maxNamed is how many evicted images are named in the log.
const maxNamed = 50

// write puts the report into the log.
func (r Report) write(log zerolog.Logger) {
	event := log.Info()
	if r.Missing > 0 {
		event = log.Warn().Str("missing", size(r.Missing)).Str("too_new", size(r.Young)).Int("failed", r.Failed)
		if r.Failure != "" {
			event.Str("first_failure", r.Failure)
		}
	}
	event.Str("before", size(r.Before)).Str("after", size(r.After)).Str("limit", size(r.Limit)).
		Int("evicted", r.Blobs).Int("links_removed", r.Swept.Links).Str("disk_free", size(r.DiskFree))
	if !r.Oldest.IsZero() {
		event.Time("oldest_use", r.Oldest).Time("newest_use", r.Newest)
	}
	message := "store looked at"
	if r.Blobs > 0 {
		message = "store cleaned"
		var names []string
		for _, image := range r.Images[:min(len(r.Images), maxNamed)] {
			names = append(names, image.Name)
		}
		event.Str("evicted_size", size(r.Before-r.After)).Int("evicted_images", len(r.Images)).Strs("images", names)
		if rest := len(r.Images) - len(names); rest > 0 {
			event.Int("images_not_named", rest)
		}
		if n := len(r.Images); n > 0 {
			event.Time("evicted_up_to_use", r.Images[n-1].Used)
		}
	}
	event.Str("took", r.Took.Round(time.Millisecond).String()).Msg(message)
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }
