package pulls

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"registrycache/logger/accesslog"
	"registrycache/router/address"
)

const (
	// keep is how long a pull is remembered after that. Some clients fetch a
	// layer only when they need it, and then it is known what it is of.
	keep = time.Minute
	// longest is how long who never pauses waits for a line.
	longest = time.Minute
	// many requests are more than a pull has: an image has at most 127 layers.
	many = 500
	// lookEvery is how often pulls are looked through for those that are over.
	lookEvery = time.Second

	// maxOpen bounds the pulls that are open or remembered, and maxOpenOfOne
	// those of one client and repository. The oldest is written out for a new
	// one.
	maxOpen      = 10_000
	maxOpenOfOne = 64
)

// Log writes a line for each pull.
type Log struct {
	// Quiet is how long nothing comes after the end of a pull. It must not
	// change once there is a request.
	Quiet time.Duration

	log zerolog.Logger

	// writing is held while ended pulls are taken out and written, so that
	// nothing is left when Close returns.
	writing sync.Mutex

	mu   sync.Mutex
	open map[who][]*Pull // and those that are remembered; oldest first
	// order has them all, oldest first.
	order []*Pull
	// timer runs while there is any.
	timer  *time.Timer
	closed bool
}

// New returns a Log that writes its lines to log, at info.
func New(log zerolog.Logger) *Log {
	return &Log{Quiet: 3 * time.Second, log: log, open: make(map[who][]*Pull)}
}

// Answer is what a record does not say of how a request ended.
type Answer struct {
	// Contents are those of the manifest that was sent, if they are known.
	Contents *Contents
	// Cut says that the answer was not sent to its end.
	Cut bool
}

// Begin is called for a request whose record says what was asked for. It
// returns nil for one that belongs to no pull.
func (l *Log) Begin(r *accesslog.Record) *Pull {
	if !belongs(r) {
		return nil
	}
	l.mu.Lock()
	p, ended := l.begin(r)
	l.mu.Unlock()
	l.write(ended)
	return p
}

// End is called when the request is over and its record complete; p is what
// Begin has returned for it, or nil.
func (l *Log) End(p *Pull, r *accesslog.Record, a Answer) {
	if p == nil {
		return
	}
	l.mu.Lock()
	p.end(r, a)
	var ended []line
	if p.left && p.underWay == 0 {
		ended = p.lineTo(ended)
	}
	l.mu.Unlock()
	l.write(ended)
}

// Answered is Begin and End of a request that was answered at once.
func (l *Log) Answered(r *accesslog.Record, a Answer) {
	if !belongs(r) {
		return
	}
	l.mu.Lock()
	p, ended := l.begin(r)
	if p != nil {
		p.end(r, a)
	}
	l.mu.Unlock()
	l.write(ended)
}

// Close writes what is open. No request may be under way, nor come.
func (l *Log) Close() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	var ended []line
	for _, p := range l.order {
		ended = p.lineTo(ended)
	}
	l.open, l.order = nil, nil
	l.mu.Unlock()
	l.write(ended)
}

func belongs(r *accesslog.Record) bool {
	switch r.Kind {
	case string(address.Manifests):
		return r.Method == http.MethodGet || r.Method == http.MethodHead
	case string(address.Blobs):
		return r.Method == http.MethodGet
	}
	return false
}

// begin finds the request's pull, or begins one, and returns the lines of those
// that had to make room for it.
func (l *Log) begin(r *accesslog.Record) (p *Pull, ended []line) {
	w := whoOf(r)
	open := l.open[w]
	if r.Kind == string(address.Blobs) {
		p = ofBlob(open, r.Reference)
	} else {
		p = ofManifest(open, r.Reference)
	}
	if p == nil && r.Kind == string(address.Manifests) && !l.closed {
		if len(open) == maxOpenOfOne {
			ended = l.leave(open[0], ended)
		} else if len(l.order) == maxOpen {
			ended = l.leave(l.order[0], ended)
		}
		p = l.add(w, r)
	}
	if p != nil {
		p.begin(r)
	}
	return p, ended
}

// ofBlob is the pull whose manifest lists the blob, or else the newest.
func ofBlob(open []*Pull, d string) *Pull {
	if len(open) > 1 {
		key := keyOf(d)
		for _, p := range slices.Backward(open) {
			if p.lists(key) {
				return p
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	return open[len(open)-1]
}

// ofManifest is the pull that the manifest belongs to, if there is one that is
// not over.
func ofManifest(open []*Pull, reference string) *Pull {
	for _, p := range slices.Backward(open) {
		// An index may list it where nobody could look.
		if !p.over && (p.is(reference) || p.opaque && isDigest(reference)) {
			return p
		}
	}
	return nil
}

func (l *Log) add(w who, r *accesslog.Record) *Pull {
	w = w.copied()
	p := &Pull{who: w, upstream: r.Upstream, asked: strings.Clone(r.Reference), tally: tally{from: r.Time}}
	if isDigest(p.asked) {
		p.digest = p.asked
	}
	l.open[w] = append(l.open[w], p)
	l.order = append(l.order, p)
	if l.timer == nil {
		l.timer = time.AfterFunc(lookEvery, l.look)
	}
	return p
}

// leave closes a pull before its time.
func (l *Log) leave(p *Pull, ended []line) []line {
	l.forget(p)
	l.order = slices.DeleteFunc(l.order, func(o *Pull) bool { return o == p })
	if p.left = true; p.underWay == 0 {
		return p.lineTo(ended)
	}
	return ended
}

// forget makes new requests no longer find the pull.
func (l *Log) forget(p *Pull) {
	rest := slices.DeleteFunc(l.open[p.who], func(o *Pull) bool { return o == p })
	if len(rest) == 0 {
		delete(l.open, p.who)
		return
	}
	l.open[p.who] = rest
}

// look writes the lines of what is over, and of what goes on and on.
func (l *Log) look() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	now := time.Now()
	var ended []line
	l.order = slices.DeleteFunc(l.order, func(p *Pull) bool {
		still := now.Sub(p.last)
		switch {
		case p.underWay == 0 && still >= l.Quiet:
			ended = p.lineTo(ended)
			p.rest()
			if !p.told || still >= keep {
				l.forget(p)
				return true
			}
		case now.Sub(p.from) >= longest && (p.times > 1 || p.requests > many):
			p.until = now
			ended = p.lineTo(ended)
			p.tally = tally{from: now}
		}
		return false
	})
	if len(l.order) > 0 {
		l.timer.Reset(lookEvery)
	} else {
		l.timer = nil
	}
	l.mu.Unlock()
	l.write(ended)
}
