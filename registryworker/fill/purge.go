package fill

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// purgeEvery is how often abandoned partial fills are looked for.
const purgeEvery = time.Hour

func (e *Engine) purgeNowAndThen() {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		if err := e.Purge(time.Now()); err != nil {
			e.log.Warn().Err(err).Msg("abandoned fills could not be removed")
		}
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// Purge removes partial fills that nothing was written to for PartialMaxAge, and
// none that is running, in this process or another.
func (e *Engine) Purge(now time.Time) error {
	list, err := e.store.Fills()
	if err != nil {
		return err
	}
	var failed error
	for _, d := range list {
		removed, err := e.purge(d, now.Add(-e.opt.PartialMaxAge))
		if removed {
			e.metrics.purged.Inc()
			e.log.Info().Stringer("digest", d).Msg("abandoned fill removed")
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// purge removes the directory of one fill when all in it is older than before.
// It holds the locks of the files meanwhile, so that no fill starts in them; one
// that opens such a file finds that it has lost its name, or uses another.
func (e *Engine) purge(d digest.Digest, before time.Time) (removed bool, err error) {
	dir := e.store.FillDir(d)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		// For writing, since NFS wants that of an exclusive lock.
		f, err := os.OpenFile(filepath.Join(dir, entry.Name()), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // somebody is at work here
		}
		if err != nil {
			return false, err
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil || info.ModTime().After(before) || lock(f) != nil {
			return false, err
		}
	}
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return false, err
		}
	}
	err = os.Remove(dir)
	if errors.Is(err, fs.ErrExist) {
		err = nil // another fill has just begun here
	}
	return len(entries) > 0, err
}
