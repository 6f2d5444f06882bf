package router

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"

	"registrycache/logger/accesslog"
	"registrycache/router/pulls"
)

const (
	// maxHitBytes bounds the memory that answers are kept in.
	maxHitBytes = 16 << 20
	// maxHitBody is the largest body that is kept: a few rare giants must not
	// push out everything else.
	maxHitBody = 1 << 20
	// hitOverhead is what an entry takes besides key and body, about.
	hitOverhead = 1 << 10
)

// hit is an answer that is given again without asking the worker. It is
// immutable, but for looked.
type hit struct {
	// from is the worker that gave it, and term its term then: a worker's word
	// ends with it.
	from *upstream
	term uint64
	// born is when the upstream or the store had it so, until when it ends.
	born, until time.Time
	// header is what clients get, but for Age.
	header http.Header
	// body is that of a small answer, and wire its header as it is sent.
	body, wire []byte
	// contents are those of the manifest that the body is, if they are known.
	contents *pulls.Contents
	// blob is in the store; it has no body here.
	blob digest.Digest
	// stored says whether what the body is of is still in the store; nil for
	// what never was. looked is when it was last asked, since 1970.
	stored func() bool
	looked atomic.Int64
}

// lookEvery is how often a hit looks for its file. Whoever removes an image and
// pulls it again must not be given a part of it from here, which would then not
// be stored again; but a look for each of thousands of hits would cost.
const lookEvery = 100 * time.Millisecond

// valid says whether what a hit is of is still in the store, as far as it must
// be there.
func (e *hit) valid(now time.Time) bool {
	if e.stored == nil || now.UnixNano()-e.looked.Load() < int64(lookEvery) {
		return true
	}
	e.looked.Store(now.UnixNano())
	return e.stored()
}

// newHit keeps what is for clients of an answer. It returns nil if the answer
// may not be given again.
func newHit(from *upstream, term uint64, response *http.Response) *hit {
	fresh := freshness(response)
	if fresh == 0 {
		return nil
	}
	now := time.Now()
	e := &hit{
		from: from, term: term, header: make(http.Header),
		born:  now.Add(-time.Duration(age(response.Header)) * time.Second),
		until: now.Add(fresh),
	}
	copyHeader(e.header, response)
	e.header.Del("Age")
	e.header.Set(accesslog.HeaderName, accesslog.Hit.Header())
	e.header.Set(apiVersionHeader, apiVersion)
	return e
}

// setHeader makes the header of an answer that of the hit. The values are
// shared, and net/http does not change them.
func (e *hit) setHeader(to http.Header, now time.Time) {
	for name, values := range e.header {
		to[name] = values
	}
	to["Age"] = []string{strconv.Itoa(e.age(now))}
}

// age is in seconds (RFC 9111 section 5.1).
func (e *hit) age(now time.Time) int { return int(now.Sub(e.born) / time.Second) }

// setBody makes the hit one with a body.
func (e *hit) setBody(body []byte) {
	e.body = body
	e.header.Set("Content-Length", strconv.Itoa(len(body)))
	var wire bytes.Buffer
	_ = e.header.Write(&wire) // a buffer takes everything
	e.wire = wire.Bytes()
}

// hits is a bounded memory of answers, by path and query. What was asked for
// least recently goes first.
type hits struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[string, *hit]
	bytes int
}

func newHits() *hits {
	h := &hits{}
	// The bytes are the bound that matters; no entry is smaller than this.
	h.lru, _ = simplelru.NewLRU(maxHitBytes/hitOverhead, h.gone) // fails for a size of 0 only
	return h
}

// gone is called for each entry that leaves.
func (h *hits) gone(key string, e *hit) { h.bytes -= e.cost(key) }

func (e *hit) cost(key string) int { return hitOverhead + len(key) + len(e.body) + len(e.wire) }

// get returns what is fresh, from this worker, and still in the store, or nil.
func (h *hits) get(key string, from *upstream, now time.Time) *hit {
	e := h.find(key, from, now)
	if e != nil && !e.valid(now) {
		h.drop(key)
		return nil
	}
	return e
}

// find returns what is fresh and from this worker, or nil.
func (h *hits) find(key string, from *upstream, now time.Time) *hit {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.lru.Get(key)
	if !ok {
		return nil
	}
	if e.from != from || e.term != from.term.Load() || !now.Before(e.until) {
		h.lru.Remove(key)
		return nil
	}
	return e
}

// keep remembers an answer, in place of the one there may be. nil is none.
func (h *hits) keep(key string, e *hit) {
	if e == nil || len(e.body) > maxHitBody {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lru.Remove(key)
	h.lru.Add(key, e)
	h.bytes += e.cost(key)
	for h.bytes > maxHitBytes {
		h.lru.RemoveOldest()
	}
}

// drop forgets an entry that has turned out to be wrong.
func (h *hits) drop(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lru.Remove(key)
}
