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
		if err := r.follow(); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// reopen turns to another try, of which the reader gets all.
func (r *Reader) reopen() error {
	size := r.size
	r.leave()
	if err := r.open(); err != nil {
		return err
	}
	if r.size != size {
		return &changedError{size, r.size}
	}
	return nil
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
	r.size = size
	return true, nil
}

// follow joins the fill of the blob or starts it, and waits for the size. It
// returns errAgain when things have changed meanwhile.
func (r *Reader) follow() error {
	t, how, err := r.engine.join(r.repo, r.digest, r.src)
	if err != nil {
		return err
	}
	r.attach(t)
	r.joined = how != entryStarted
	err = t.opened(r.ctx)
	switch {
	case err == nil:
	case errors.Is(err, errDirect):
		r.leave()
		return r.openDirect()
	case how == entryStranger && r.ctx.Err() == nil:
		r.leave() // what the upstream said was to another repository
		return errAgain
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
	r.size = t.knownSize()
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
