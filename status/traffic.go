package status

import "time"

// Traffic is what clients pulled, from the access log. It is kept across
// restarts.
type Traffic struct {
	// Since is when counting began.
	Since time.Time `json:"since"`
	// Upstreams are sorted by Path; those with traffic alone.
	Upstreams []UpstreamTraffic `json:"upstreams"`
	// Hours are the last 7 days of all upstreams, oldest first, one for each
	// hour, the current one last.
	Hours []Hour `json:"hours"`
	// Busiest were pulled most within 7 days, Newest first pulled last.
	Busiest []Image `json:"busiest"`
	Newest  []Image `json:"newest"`
}

// UpstreamTraffic is that of one upstream.
type UpstreamTraffic struct {
	Path  string `json:"path"`
	Today Tally  `json:"today"` // since midnight, local time
	Week  Tally  `json:"week"`  // the last 7 days
	Total Tally  `json:"total"` // since Traffic.Since
}

// Hour is one hour's traffic.
type Hour struct {
	Begin time.Time `json:"begin"`
	Tally
}

// Tally counts answers to GET for manifests and blobs.
type Tally struct {
	Requests int64 `json:"requests"`
	// Hits were answered from what is here, also after the upstream confirmed
	// it, or from a transfer that another request had begun.
	Hits   int64 `json:"hits"`
	Failed int64 `json:"failed"` // status 5xx
	// Sent are bytes of bodies, Saved those of hits: the upstream was not asked
	// for them.
	Sent  int64 `json:"sent"`
	Saved int64 `json:"saved"`
}

// HitRatio is from 0 to 1; ok is false when there was no request.
func (t Tally) HitRatio() (ratio float64, ok bool) {
	if t.Requests == 0 {
		return 0, false
	}
	return float64(t.Hits) / float64(t.Requests), true
}

// Add adds o to t.
func (t *Tally) Add(o Tally) {
	t.Requests += o.Requests
	t.Hits += o.Hits
	t.Failed += o.Failed
	t.Sent += o.Sent
	t.Saved += o.Saved
}

// Image is one that was pulled.
type Image struct {
	// Name has the upstream's path first, and a tag, or a digest after @.
	Name  string    `json:"name"`
	Pulls int64     `json:"pulls"` // within 7 days
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}
