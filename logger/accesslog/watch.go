package accesslog

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

// lookEvery is how often the log is looked at without an event: for
// directories made anew, and file systems and kernels that send none.
const lookEvery = time.Second

// watcher says when to look at the log again.
type watcher struct {
	path   string
	notify *fsnotify.Watcher // nil if the kernel gives none
	events <-chan fsnotify.Event
	errs   <-chan error
	tick   *time.Ticker
	log    zerolog.Logger
}

func watch(path string, log zerolog.Logger) *watcher {
	w := &watcher{path: filepath.Clean(path), tick: time.NewTicker(lookEvery), log: log}
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		if err = notify.Add(filepath.Dir(path)); err != nil {
			_ = notify.Close()
		}
	}
	if err != nil {
		log.Warn().Err(err).Str("file", path).Msg("the access log is looked at every second, as it can't be watched")
		return w
	}
	w.notify, w.events, w.errs = notify, notify.Events, notify.Errors
	return w
}

// wait returns when there is something to look at, or false when the context
// ended.
func (w *watcher) wait(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case e := <-w.events:
			if e.Name == w.path {
				return true
			}
		case err := <-w.errs:
			w.log.Debug().Err(err).Msg("events of the access log were lost, so it is looked at")
			return true
		case <-w.tick.C:
			if w.notify != nil {
				// The directory may be another one by now; adding it twice is
				// nothing, and while it is missing there is nothing to add.
				_ = w.notify.Add(filepath.Dir(w.path))
			}
			return true
		}
	}
}

func (w *watcher) close() {
	w.tick.Stop()
	if w.notify != nil {
		_ = w.notify.Close()
	}
}
