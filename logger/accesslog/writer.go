package accesslog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	defaultMaxSize    = 64 << 20
	defaultKeep       = 3
	defaultFlushEvery = 200 * time.Millisecond

	// flushSize is how many bytes are written without waiting for the time.
	flushSize = 64 << 10
	// maxPending bounds the bytes that wait to be written: about half a
	// second of 20,000 requests a second.
	maxPending = 4 << 20
	// maxSpare bounds the buffer that is kept for the next lines.
	maxSpare = 1 << 20
	// maxWait is how long Log waits for room before lines are lost.
	maxWait = time.Second
	// reportEvery is how often lost lines are reported at most.
	reportEvery = time.Minute
)

// WriterOptions may be left empty.
type WriterOptions struct {
	// MaxSize is the size in bytes over which the file is rotated; 0 is 64 MiB.
	MaxSize int64
	// Keep is how many rotated files are kept; 0 is 3.
	Keep int
	// FlushEvery is how late a line may reach the file; 0 is 200 ms.
	FlushEvery time.Duration
	// Log takes reports of lost lines, at most one a minute.
	Log zerolog.Logger
	// Metrics takes the count of lost lines; nil counts them for Dropped only.
	Metrics prometheus.Registerer
}

// Writer appends records to an access log, off the path of the requests: Log
// puts a line into memory and one goroutine writes them to the file. Use
// NewWriter.
type Writer struct {
	opt     WriterOptions
	file    file
	dropped atomic.Uint64
	lines   sync.Pool

	mu      sync.Mutex
	pending []byte
	// room is closed when pending was taken, and replaced.
	room chan struct{}
	// stalled says that the file took nothing for maxWait: until it does,
	// nobody waits for it again.
	stalled bool
	closed  bool

	first   chan struct{} // pending is no longer empty
	full    chan struct{} // pending is worth writing at once
	closing chan struct{}
	done    chan struct{}
	close   sync.Once

	// Owned by the goroutine.
	reported   uint64
	reportedAt time.Time
}

// NewWriter opens the access log at path and creates its directory. A disk
// that is full or read-only is no error but reported and tried again: it must
// not keep the cache from starting.
func NewWriter(path string, opt WriterOptions) (*Writer, error) {
	if opt.MaxSize == 0 {
		opt.MaxSize = defaultMaxSize
	}
	if opt.Keep == 0 {
		opt.Keep = defaultKeep
	}
	if opt.FlushEvery == 0 {
		opt.FlushEvery = defaultFlushEvery
	}
	w := &Writer{
		opt:     opt,
		file:    file{path: path, max: opt.MaxSize, keep: opt.Keep},
		lines:   sync.Pool{New: func() any { return new([]byte) }},
		room:    make(chan struct{}),
		first:   make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	if opt.Metrics != nil {
		err := opt.Metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "registry_cache_access_log_dropped_lines_total",
			Help: "Lines of the access log that were lost because the file could not be written.",
		}, func() float64 { return float64(w.Dropped()) }))
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
	}
	if err := w.file.open(); err != nil {
		if !passing(err) {
			return nil, fmt.Errorf("open the access log: %w", err)
		}
		opt.Log.Error().Err(err).Msg("the access log can't be written; requests are served without it until it can")
	}
	go w.run()
	return w, nil
}

// passing says whether an error is the disk's state rather than a wrong path.
func passing(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// Log adds one record. It waits only while 4 MiB of lines are waiting for the
// disk, and no longer than a second; a line is lost, and counted, when
// the disk takes none for so long or the Writer is closed.
func (w *Writer) Log(r Record) {
	buf := w.lines.Get().(*[]byte)
	*buf = appendLine((*buf)[:0], &r)
	if !w.add(*buf) {
		w.dropped.Add(1)
	}
	w.lines.Put(buf)
}

// Dropped returns how many lines were lost so far.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Close writes what is pending and closes the file. Calling it again does
// nothing.
func (w *Writer) Close() error {
	var err error
	w.close.Do(func() {
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		close(w.closing)
		<-w.done
		err = w.file.close()
	})
	return err
}

// add appends a line to what is pending and says whether it could.
func (w *Writer) add(line []byte) bool {
	var timeout <-chan time.Time
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return false
		}
		before := len(w.pending)
		if before == 0 || before+len(line) <= maxPending {
			w.pending = append(w.pending, line...)
			w.mu.Unlock()
			w.wake(before, before+len(line))
			return true
		}
		if w.stalled {
			w.mu.Unlock()
			return false
		}
		room := w.room
		w.mu.Unlock()

		if timeout == nil {
			timer := time.NewTimer(maxWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-room:
		case <-timeout:
			w.mu.Lock()
			w.stalled = w.room == room
			w.mu.Unlock()
			return false
		}
	}
}

// wake tells the goroutine about lines only when there is something new to
// know, so that most calls of Log send nothing.
func (w *Writer) wake(before, after int) {
	if before == 0 {
		notify(w.first)
	}
	if before < flushSize && after >= flushSize {
		notify(w.full)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *Writer) run() {
	defer close(w.done)
	timer := time.NewTimer(w.opt.FlushEvery)
	defer timer.Stop()
	var spare []byte
	for open := true; open; {
		select {
		case <-w.first:
			timer.Reset(w.opt.FlushEvery)
			select {
			case <-timer.C:
			case <-w.full:
			case <-w.closing:
			}
		case <-w.closing:
			open = false
		}
		lines := w.take(spare)
		w.flush(lines)
		spare = lines[:0]
		if cap(spare) > maxSpare { // what a burst needed is not kept
			spare = nil
		}
	}
}

// take returns what is pending and makes room for more.
func (w *Writer) take(spare []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.pending
	w.pending = spare
	w.stalled = false
	close(w.room)
	w.room = make(chan struct{})
	return lines
}

func (w *Writer) flush(lines []byte) {
	var err error
	if len(lines) > 0 {
		var lost int
		lost, err = w.file.write(lines)
		w.dropped.Add(uint64(lost))
	}
	dropped := w.dropped.Load()
	if err == nil && dropped == w.reported || time.Since(w.reportedAt) < reportEvery {
		return
	}
	w.opt.Log.Error().Err(err).Str("file", w.file.path).Uint64("lost_lines", dropped-w.reported).
		Msg("the access log can't be written or rotated; what is lost from it does not count as use when the store is cleaned")
	w.reported, w.reportedAt = dropped, time.Now()
}
