package fill

import (
	"errors"
	"io"
	"time"
)

// longestSegment is how many SegmentSizes a stream asks for at most.
const longestSegment = 8

// stream fetches claim after claim until there are no more.
func (t *transfer) stream(c *claim) {
	length := t.engine.opt.SegmentSize
	for c != nil {
		from, begun := c.pos, time.Now()
		waited, err := t.fetch(c)
		if err == nil {
			length = t.stretch(length, waited, time.Since(begun))
			c = t.advance(c, length)
		} else {
			c = t.recover(c, from, err)
		}
	}
}

// stretch returns how much to ask for next, so that waiting for an answer stays
// below a twentieth of the time.
func (t *transfer) stretch(length int64, waited, took time.Duration) int64 {
	least := t.engine.opt.SegmentSize
	switch {
	case waited > took/20:
		length *= 2
	case waited < took/40:
		length /= 2
	}
	return min(max(length, least), longestSegment*least)
}

// fetch makes one request for the claim and writes what comes. It returns how
// long it waited for the answer. The error is nil when the claim is done.
func (t *transfer) fetch(c *claim) (waited time.Duration, err error) {
	begun := time.Now()
	a, err := t.request(c)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	waited = time.Since(begun)
	done, err := t.accept(a, c)
	if err == nil {
		err = t.begin()
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for !done && err == nil {
		var n int
		n, err = a.Read(buf[:t.room(a, c, len(buf))])
		switch {
		case n > 0:
			done, err = t.write(a, c, buf[:n])
		case errors.Is(err, io.EOF): // only where the length was not known
			t.learnSize(a.pos)
			return waited, nil
		}
	}
	return waited, err
}

// room returns how much of a buffer the next read may fill. It ends with the
// claim, whose end may have come closer, and is at most a segment: no claim is
// cut that close ahead of its stream, so no byte is read that another stream
// claims meanwhile.
func (t *transfer) room(a *answer, c *claim, length int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return min(int64(length), t.engine.opt.SegmentSize, c.end-a.pos)
}

// request asks for the claim, or for the whole blob where ranges won't do.
func (t *transfer) request(c *claim) (*answer, error) {
	t.mu.Lock()
	want, plain, failed := span{c.pos, c.end}, t.schedule.plain, t.schedule.retries.failed
	t.mu.Unlock()
	if plain {
		want = whole
	}
	return t.engine.ask(t.ctx, t.fill.source(failed), want)
}

// accept checks an answer against what is known of the blob, learns from it, and
// says whether there is nothing to read for the claim.
func (t *transfer) accept(a *answer, c *claim) (done bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.schedule
	switch {
	case a.size >= 0 && t.size >= 0 && a.size != t.size:
		return false, &changedError{t.size, a.size}
	case a.size < 0 && t.size < 0 && a.ranged:
		return false, errNoSize
	case a.pos < c.pos && !a.ranged && len(s.claims) > 1:
		return false, errIgnored // to read what others bring would be a waste
	}
	if err := a.beginsBy(c.pos); err != nil {
		return false, err
	}
	if t.size < 0 {
		t.size = a.size
	}
	s.changed, s.refused = 0, 0
	s.ranged = a.ranged
	if a.end < 0 {
		a.end = t.size
	}
	if a.ranged {
		c.end = min(c.end, a.end)
	} else {
		c.end = c.pos
		t.extend(c)
	}
	return c.pos == c.end, nil
}

// begin makes room for the blob when its size has become known, and starts
// further streams.
func (t *transfer) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size < 0 {
		return nil
	}
	if !t.schedule.answered {
		size := t.size
		t.mu.Unlock() // it may take a while; this is the only stream
		err := t.engine.files.allocate(t.file, size)
		t.mu.Lock()
		if err != nil {
			return &storeError{err}
		}
		t.openLocked()
	}
	t.spread()
	return nil
}

// learnSize takes the end of a body of unknown length for the blob's. It may as
// well be a connection that broke, so nobody is let in before the digest is
// found right: until then another try goes unnoticed.
func (t *transfer) learnSize(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size
	t.wakeVerifier()
}

// write writes what of p, the bytes just read from a, belongs to the claim, and
// says whether that is done. A body without ranges may begin before it.
func (t *transfer) write(a *answer, c *claim, p []byte) (done bool, err error) {
	for {
		t.mu.Lock()
		from, to := c.pos, min(c.end, a.pos)
		t.mu.Unlock()
		if from < to {
			first := a.pos - int64(len(p))
			if err := t.part.writeAt(p[from-first:to-first], from); err != nil {
				return false, &storeError{err}
			}
			t.written(c, to)
		}
		t.mu.Lock()
		done := c.pos >= c.end && (a.ranged || !t.extend(c))
		more := c.pos < a.pos
		t.mu.Unlock()
		if done || !more {
			return done, nil
		}
	}
}

// advance ends a claim that is done and returns the next.
func (t *transfer) advance(c *claim, length int64) *claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unclaim(c)
	if t.engine.streams.Load() > int64(t.engine.opt.MaxConnections) && len(t.schedule.claims) > 0 {
		return nil // make room; the others of this fill go on
	}
	c = t.next(length)
	t.spread()
	return c
}

// recover ends a claim that failed after bytes up to c.pos, and returns the one
// to go on with, perhaps after a while. A stream that brings nothing while
// others do is one too many, and ends.
func (t *transfer) recover(c *claim, from int64, cause error) *claim {
	if _, ok := errors.AsType[*storeError](cause); ok {
		t.settle(cause)
	}
	t.mu.Lock()
	t.unclaim(c)
	s := &t.schedule
	if t.isSettled() || t.ctx.Err() != nil {
		t.mu.Unlock()
		return nil
	}
	if c.pos == from && len(s.claims) > 0 {
		s.limit = len(s.claims)
		t.mu.Unlock()
		t.logRetry(cause, from, "fetching over fewer connections")
		return nil
	}
	delay, err := t.judge(cause)
	if err != nil {
		t.mu.Unlock()
		t.settle(err)
		return nil
	}
	s.pausing++
	t.mu.Unlock()
	t.engine.metrics.retries.Inc()
	t.logRetry(cause, c.pos, "going on with another request")
	err = sleep(t.ctx, delay)

	t.mu.Lock()
	defer t.mu.Unlock()
	s.pausing--
	if err != nil || len(s.claims) >= s.limit {
		return nil
	}
	c = t.next(t.engine.opt.SegmentSize)
	t.spread()
	return c
}

// judge says what follows from a failed request: a delay, or the error that
// ends the transfer.
func (t *transfer) judge(err error) (time.Duration, error) {
	s := &t.schedule
	switch {
	case errors.Is(err, errChanged):
		// One such answer may be anything, an error page with status 200 even.
		if s.changed++; s.changed > 1 {
			return 0, err
		}
	case s.plain:
	case rangeRefused(err):
		// Midway, one such answer may be a mishap, and the way round it is long.
		if s.refused++; s.refused > 1 || !s.answered {
			s.plain, s.ranged = true, false
			return 0, nil
		}
	case errors.Is(err, errNoSize):
		s.plain, s.ranged = true, false
		return 0, nil
	}
	if !s.answered {
		return s.retries.unanswered(err)
	}
	return s.retries.broken(err)
}

func (t *transfer) logRetry(err error, at int64, what string) {
	t.engine.log.Info().Err(err).Stringer("digest", t.fill.digest).
		Str("repository", t.fill.repository).Int64("at", at).Msg(what)
}
