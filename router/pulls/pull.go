package pulls

import (
	"net/http"
	"strings"
	"time"

	"registrycache/logger/accesslog"
	"registrycache/router/address"
)

// who is a client and the repository it pulls from.
type who struct{ client, user, repository string }

// whoOf does not copy what it names.
func whoOf(r *accesslog.Record) who {
	host := r.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = strings.Trim(host[:i], "[]")
	}
	return who{host, r.User, r.Repository}
}

// copied keeps none of the request's memory.
func (w who) copied() who {
	return who{strings.Clone(w.client), strings.Clone(w.user), strings.Clone(w.repository)}
}

// Pull is one that is open, or, of a request, the one that it belongs to. All
// of it is guarded by its Log's mutex.
type Pull struct {
	who      who
	upstream string
	// asked is the tag or digest that it began with, and digest what that is.
	asked, digest string
	// parts are the contents of its manifests, as far as they are known; opaque
	// says that there is one of which they are not.
	parts  []*Contents
	opaque bool
	// checked says that the image was asked for with HEAD since it was pulled.
	checked bool

	// underWay is the number of requests without an end yet, and last is when
	// one began or ended.
	underWay int
	last     time.Time
	// told says that it had something to tell of, and over that nothing came
	// since: it is remembered for blobs that come late.
	told, over bool
	// left says that it is no longer open and its line is written when nothing
	// of it is under way.
	left bool

	tally
}

// tally is what a line tells of.
type tally struct {
	// from and until are the begin of the first request and the end of the last.
	from, until time.Time
	// times is how often the image was asked for. It is 0 for the rest of a
	// pull that has had a line.
	times    int
	requests int
	bytes    int64
	worst    rank
	// got says that something was sent, or should have been.
	got bool
}

// rank is how an answer came about, better ones first.
type rank int

const (
	hit rank = iota
	stale
	miss
	failed
)

var rankNames = [...]string{"hit", "stale", "miss", "failed"}

func rankOf(r *accesslog.Record, cut bool) rank {
	if cut || r.Status >= http.StatusInternalServerError {
		return failed
	}
	switch r.Cache {
	case accesslog.Miss, accesslog.Collapsed, accesslog.Passed:
		return miss
	case accesslog.Stale:
		return stale
	}
	return hit
}

// maxParts bounds the manifests of a pull whose contents are remembered.
const maxParts = 128

// is says whether a request for a manifest belongs to this pull: the image
// itself, or one that its index lists.
func (p *Pull) is(reference string) bool {
	return reference == p.asked || isDigest(reference) && (reference == p.digest || p.lists(keyOf(reference)))
}

func (p *Pull) lists(key uint64) bool {
	for _, c := range p.parts {
		if c.lists(key) {
			return true
		}
	}
	return false
}

// begin counts the start of a request.
func (p *Pull) begin(r *accesslog.Record) {
	if p.underWay == 0 && !p.got && (r.Method == http.MethodHead || !p.checked) {
		// Nothing came of what was asked before, however often: it is now that
		// the pull begins, with this request or with the check before it.
		p.tally = tally{from: r.Time}
	}
	p.over = false
	p.underWay++
	p.requests++
	p.last = r.Time
	if r.Kind != string(address.Manifests) || r.Reference != p.asked && r.Reference != p.digest {
		return
	}
	switch {
	case r.Method == http.MethodHead:
		p.checked = true
	case p.times == 0 || p.checked || r.Reference == p.asked:
		p.times++
		p.checked = false
	}
}

// rest is called when the pull is over. What comes yet is counted anew.
func (p *Pull) rest() {
	p.told = p.told || p.got
	p.tally = tally{}
	p.over, p.checked = true, false
}

// end counts the end of a request.
func (p *Pull) end(r *accesslog.Record, a Answer) {
	p.underWay--
	p.until = r.Time.Add(time.Duration(r.Duration * float64(time.Second)))
	p.last = p.until
	p.bytes += r.Bytes
	how := rankOf(r, a.Cut)
	if how != failed && r.Status >= http.StatusBadRequest {
		return // what there is not: a signature that is looked for, say
	}
	p.worst = max(p.worst, how)
	p.got = p.got || r.Method == http.MethodGet
	if r.Kind == string(address.Manifests) && how != failed {
		p.learn(r, a.Contents)
	}
}

// learn notes what a manifest is and lists.
func (p *Pull) learn(r *accesslog.Record, c *Contents) {
	if r.Reference == p.asked && p.digest != r.Digest {
		p.digest = strings.Clone(r.Digest)
	}
	if c == nil {
		p.opaque = p.opaque || r.Method == http.MethodGet
		return
	}
	for _, known := range p.parts {
		if known.of == c.of {
			return
		}
	}
	if len(p.parts) < maxParts {
		p.parts = append(p.parts, c)
	}
}

// name is that of the image.
func (p *Pull) name() string {
	separator := ":"
	if isDigest(p.asked) {
		separator = "@"
	}
	return p.who.repository + separator + p.asked
}

// isDigest tells a digest from a tag, which has no colon.
func isDigest(reference string) bool { return strings.IndexByte(reference, ':') >= 0 }
