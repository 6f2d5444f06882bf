package fill

import "context"

// direct is a reader's own way to the upstream, for what the store can't hold.
// It survives what a fill survives. What it reads from the first byte to the
// last is verified like a fill; parts can't be, that is for the client.
type direct struct {
	r *Reader
	a *answer // nil when not connected
	// hash is over all bytes given out so far; nil when these are but a part.
	hash    *prefixHash
	retries retries
}

func (r *Reader) newDirect() *direct {
	r.engine.metrics.direct.Inc()
	return &direct{r: r, retries: retries{max: r.engine.opt.MaxTries}}
}

// openDirect is for when there is not even a file to begin with.
func (r *Reader) openDirect() error {
	d := r.newDirect()
	d.hash = newPrefixHash(r.digest)
	for {
		err := d.connect(0)
		if err == nil {
			break
		}
		delay, err := d.retries.unanswered(err)
		if err == nil {
			err = sleep(r.ctx, delay)
		}
		if err != nil {
			return err
		}
	}
	r.size, r.direct = d.a.size, d
	if r.size >= 0 {
		return nil
	}
	s, ok := r.src.(Stater)
	if !ok {
		d.disconnect()
		return errNoSize
	}
	size, err := s.StatBlob(r.ctx)
	if err == nil && size < 0 {
		err = errNoSize
	}
	if err != nil {
		d.disconnect()
		return err
	}
	r.size = size
	return nil
}

// readDirect reads what the file does not have.
func (r *Reader) readDirect(p []byte, off int64) (int, error) {
	if r.direct == nil {
		d := r.newDirect()
		if off == r.prefix {
			d.hash = r.hashGiven()
		}
		r.direct = d
	}
	return r.direct.readAt(p, off)
}

// hashGiven returns the hash of all that was given out so far, from the first
// byte on, or nil when the file can't be read.
func (r *Reader) hashGiven() *prefixHash {
	var h *prefixHash
	if r.t != nil {
		h = r.t.hashBefore(r.prefix)
	}
	if h == nil {
		h = newPrefixHash(r.digest)
	}
	return r.hashFile(h)
}

// hashFile adds to h what was given out from the file since.
func (r *Reader) hashFile(h *prefixHash) *prefixHash {
	if h.pos < r.prefix && h.read(r.t.file, r.prefix) != nil {
		return nil
	}
	return h
}

func (d *direct) readAt(p []byte, off int64) (int, error) {
	for {
		err := d.connect(off)
		if err == nil {
			var n int
			if n, err = d.a.Read(p); n > 0 {
				d.retries.progress()
				if off+int64(n) == d.r.size {
					d.disconnect() // there may be others who wait
				}
				return d.check(p[:n], off)
			}
			err = noEOF(err)
			d.disconnect()
		}
		if ctxErr := context.Cause(d.r.ctx); ctxErr != nil {
			return 0, ctxErr
		}
		delay, err := d.retries.broken(err)
		if err == nil {
			d.r.engine.metrics.retries.Inc()
			err = sleep(d.r.ctx, delay)
		}
		if err != nil {
			return 0, err
		}
	}
}

// connect makes sure that the next byte of the body is the one at off. The
// number of those connected is bounded.
func (d *direct) connect(off int64) error {
	if d.a != nil && d.a.pos == off {
		return nil
	}
	d.disconnect()
	r := d.r
	select {
	case r.engine.direct <- struct{}{}:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	a, err := d.request(off)
	if err != nil {
		<-r.engine.direct
		return err
	}
	d.a = a
	return nil
}

func (d *direct) request(off int64) (*answer, error) {
	r := d.r
	want := whole
	if off > 0 {
		want = span{off, r.size}
	}
	a, err := r.engine.ask(r.ctx, r.src, want)
	if rangeRefused(err) && want != whole {
		a, err = r.engine.ask(r.ctx, r.src, whole)
	}
	if err != nil {
		return nil, err
	}
	err = a.beginsBy(off)
	if a.size >= 0 && r.size >= 0 && a.size != r.size {
		err = &changedError{r.size, a.size}
	}
	if err == nil {
		err = a.skip(off)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (d *direct) disconnect() {
	if d.a == nil {
		return
	}
	d.a.Close()
	d.a = nil
	<-d.r.engine.direct
}

// check hashes the bytes at off, and gives none of them out when they end the
// blob and its digest is wrong. Before them may be some that the file had.
func (d *direct) check(p []byte, off int64) (int, error) {
	r := d.r
	if d.hash != nil && r.prefix == off {
		d.hash = r.hashFile(d.hash)
	}
	if d.hash == nil || d.hash.pos != off {
		d.hash = nil
		return len(p), nil
	}
	d.hash.write(p)
	if d.hash.pos < r.size {
		return len(p), nil
	}
	if err := d.hash.check(); err != nil {
		r.engine.metrics.wrongDigests.Inc()
		r.engine.log.Error().Err(err).Stringer("digest", r.digest).Str("repository", r.repo).
			Msg("the upstream sent wrong bytes")
		return 0, err
	}
	return len(p), nil
}
