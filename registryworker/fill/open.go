package fill

import (
	"errors"
	"io/fs"

	"registrycache/images"
)

// open finds where to read from: the store, a fill, or the upstream itself.
func (r *Reader) open() error {
	for {
		found, err := r.openStored()
		if found || err != nil {
			return err
		}
		if err := r.join(); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// openStored opens a blob that is in the store, once the upstream agreed that
// the repository may have it: a digest is not a permission.
func (r *Reader) openStored() (found bool, err error) {
	e := r.engine
	f, size, err := e.store.OpenBlob(r.digest)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			e.health.broken(err)
		}
		return false, nil
	}
	if !e.store.HasLink(r.repo, images.Layer, r.digest) && !e.Filling(r.repo, r.digest) {
		if err := permitted(r.ctx, r.src); err != nil {
			_ = f.Close()
			return false, err
		}
		r.link()
	}
	r.attach(storedTransfer(f, size))
	return true, r.learnSize(size)
}

// join joins the fill of the blob, or starts it. It returns errAgain when things
// have changed meanwhile.
func (r *Reader) join() error {
	t, how, err := r.engine.join(r.repo, r.digest, r.src)
	if err != nil {
		return err
	}
	r.joined = how != entryStarted
	err = r.follow(t)
	switch {
	case err == nil:
	case how == entryStranger && r.ctx.Err() == nil && !errors.Is(err, errChanged):
		return errAgain // what the upstream said was to another repository
	default:
		return err
	}
	if how == entryStranger {
		if err := permitted(r.ctx, r.src); err != nil {
			return err
		}
		if !r.engine.admit(r.repo, r.digest, r.src) {
			r.link()
		}
	}
	if r.joined {
		r.engine.metrics.joined.Inc()
	}
	return nil
}

// follow attaches the reader to t, or to the try that replaces it, and waits
// for the size. It takes over a reference to t.
func (r *Reader) follow(t *transfer) error {
	for t != nil {
		r.attach(t)
		err := t.opened(r.ctx)
		if err == nil {
			return r.learnSize(t.knownSize())
		}
		if !errors.Is(err, errAgain) {
			r.leave()
		}
		if errors.Is(err, errDirect) {
			return r.openDirect()
		}
		if !errors.Is(err, errAgain) {
			return err
		}
		t = t.successor()
		r.leave()
	}
	return errAgain
}

// change turns to the try that replaces the one the reader follows, of which it
// has given out nothing.
func (r *Reader) change() error {
	t := r.t.successor()
	r.leave()
	if err := r.follow(t); !errors.Is(err, errAgain) {
		return err
	}
	return r.open()
}

// learnSize fails when a client was told another size.
func (r *Reader) learnSize(size int64) error {
	if r.size >= 0 && r.size != size {
		return &changedError{r.size, size}
	}
	r.size = size
	return nil
}

// link links the blob to the repository, if it is stored.
func (r *Reader) link() {
	e := r.engine
	if _, err := e.store.StatBlob(r.digest); err != nil {
		return
	}
	if err := e.store.Link(r.repo, images.Layer, r.digest); err != nil {
		e.health.broken(err)
	}
}
