package fill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"registrycache/images"
)

// ErrClosed is what readers get of a fill that was stopped because the process
// ends. What was fetched so far is kept.
var ErrClosed = errors.New("the cache is shutting down")

// Options tune an Engine. What is 0 takes its default.
type Options struct {
	Log        zerolog.Logger
	Registerer prometheus.Registerer

	// ParallelFrom is the size in bytes of the first request for a blob, and
	// the size from which on several connections fetch it. Default 32 MiB.
	ParallelFrom int64
	// SegmentSize is the least number of bytes asked for in one of the further
	// requests. Default 8 MiB.
	SegmentSize int64
	// Connections is how many requests of one fill run at once. Default 4.
	Connections int
	// MaxConnections is how many requests of all fills run at once before a
	// fill must do with one. Default 24.
	MaxConnections int
	// MaxTries is how many requests in a row may fail without bringing a byte
	// before the fill is given up. Default 8, which takes about 30 s.
	MaxTries int
	// IdleTimeout is how long a body may be silent before its connection is
	// given up. Default 30 s.
	IdleTimeout time.Duration
	// PartialMaxAge is how long bytes of an unfinished fill are kept that
	// nobody asks for. Default 24 h.
	PartialMaxAge time.Duration
	// MaxBlob is the size in bytes above which a blob is passed on and not kept.
	// Default none.
	MaxBlob int64
	// DirectReads is how many readers are served straight from the upstream at
	// once when the store can't be written; others wait. Default 16.
	DirectReads int
}

func (o Options) withDefaults() Options {
	orDefault(&o.ParallelFrom, 32<<20)
	orDefault(&o.SegmentSize, 8<<20)
	orDefault(&o.Connections, 4)
	orDefault(&o.MaxConnections, 24)
	orDefault(&o.MaxTries, 8)
	orDefault(&o.IdleTimeout, 30*time.Second)
	orDefault(&o.PartialMaxAge, 24*time.Hour)
	orDefault(&o.DirectReads, 16)
	return o
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Engine runs the fills of one upstream, at most one for a digest at a time.
type Engine struct {
	store   *images.Store
	opt     Options
	log     zerolog.Logger
	files   files
	metrics *metrics
	health  *health
	direct  chan struct{} // one element for each direct read
	streams atomic.Int64  // running

	// ctx is the fills', none of which ends with a client.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	fills   map[digest.Digest]*fill
	closing bool
	running sync.WaitGroup // of fills; added to under mu while not closing
	purger  sync.WaitGroup
}

// New returns an Engine, which must be closed. It removes abandoned partial
// fills from the store in the background.
func New(store *images.Store, opt Options) *Engine {
	opt = opt.withDefaults()
	ctx, cancel := context.WithCancelCause(context.Background())
	m := newMetrics(opt.Registerer)
	e := &Engine{
		store:   store,
		opt:     opt,
		log:     opt.Log,
		files:   storeFiles(store, opt.MaxBlob),
		metrics: m,
		health:  &health{log: opt.Log, metrics: m},
		direct:  make(chan struct{}, opt.DirectReads),
		ctx:     ctx,
		cancel:  cancel,
		fills:   make(map[digest.Digest]*fill),
	}
	e.purger.Go(e.purgeNowAndThen)
	return e
}

// Open joins the fill of d, or starts one, or opens the blob where it is stored
// already. It returns as soon as the size is known, or with the upstream's
// error. A repository that did not start the fill gets nothing of it before the
// upstream agreed. When the blob is complete it is linked to every repository
// that joined.
//
// The reads of the Reader end with ctx, too; the fill does not.
func (e *Engine) Open(ctx context.Context, repo string, d digest.Digest, src Source) (*Reader, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%q: %w", d, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &Reader{
		engine: e, ctx: ctx, cancel: cancel, repo: repo, digest: d, src: src,
		size: -1, wake: make(chan struct{}, 1),
	}
	if err := r.open(); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Filling says whether a fill of d is running that the repository takes part
// in: that the upstream gives it the blob was checked.
func (e *Engine) Filling(repo string, d digest.Digest) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.fills[d]
	if f == nil {
		return false
	}
	_, member := f.members[repo]
	return member && f.current.isOpen()
}

// Progress is how far a running fill has come.
type Progress struct {
	Digest digest.Digest
	// Repository is the one that asked first, upstream included.
	Repository string
	// Size is in bytes, -1 when not known yet. Have of them are on the disk,
	// Resumed of which were there when the fill started.
	Size, Have, Resumed int64
	// Rate is in bytes a second, over the last seconds.
	Rate int64
	// Readers follow the fill now, Connections fetch for it.
	Readers, Connections int
	Started              time.Time
}

// Running returns the fills that run now, oldest first.
func (e *Engine) Running() []Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Progress, 0, len(e.fills))
	for _, f := range e.fills {
		p := f.current.progress()
		p.Digest, p.Repository, p.Started = f.digest, f.repository, f.started
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Progress) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Digest, b.Digest))
	})
	return list
}

// Close waits for the running fills until ctx ends and then stops the rest.
// What these fetched is kept and the next process goes on with it. The error
// says how many they were.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		e.running.Wait()
		close(idle)
	}()
	var stopped int
	select {
	case <-idle:
	case <-ctx.Done():
		e.mu.Lock()
		stopped = len(e.fills)
		e.mu.Unlock()
		e.cancel(ErrClosed)
		<-idle
	}
	e.cancel(ErrClosed)
	e.purger.Wait()
	if stopped > 0 {
		return fmt.Errorf("%d fills were stopped, to go on after the next start: %w", stopped, ctx.Err())
	}
	return nil
}

// join returns the try at d that a request follows, with a reference that the
// caller must release, and starts a fill when none runs.
func (e *Engine) join(repo string, d digest.Digest, src Source) (t *transfer, how entry, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.fills[d]
	if f == nil {
		if e.closing {
			return nil, 0, ErrClosed
		}
		f = newFill(e, repo, d, src)
		e.fills[d] = f
		f.current.acquire()
		e.running.Go(f.run)
		return f.current, entryStarted, nil
	}
	f.current.acquire() // the fill holds a reference while it is in the map
	if _, member := f.members[repo]; member {
		return f.current, entryMember, nil
	}
	return f.current, entryStranger, nil
}

// entry is what a repository is to a fill when it comes.
type entry int

const (
	entryStarted entry = iota
	// entryMember is for a repository that started or joined before.
	entryMember
	// entryStranger is for one that the upstream was not asked about yet.
	entryStranger
)

// admit makes the repository a member of the fill of d, which is to say that
// the blob will be linked to it. It reports false when the fill has ended.
func (e *Engine) admit(repo string, d digest.Digest, src Source) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.fills[d]
	if f == nil {
		return false
	}
	f.members[repo] = src
	return true
}
