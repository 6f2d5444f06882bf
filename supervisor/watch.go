package supervisor

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

// debounce is the wait after a first event for those that come with it.
const debounce = 200 * time.Millisecond

// watcher says when the content of files has changed, however that was done:
// written in place, replaced by a rename, or, as Kubernetes does it, by turning
// a symlink of their directory elsewhere.
type watcher struct {
	// changed receives after a change, and once more after files are followed
	// that were not before. It is nil, and never does, if the system has no
	// watch left to give.
	changed chan struct{}
	files   chan []string
	closing chan struct{}
	ended   chan struct{}

	events *fsnotify.Watcher
	log    zerolog.Logger
}

// watchFiles starts to watch files, those that don't exist yet included.
func watchFiles(files []string, log zerolog.Logger) *watcher {
	w := &watcher{
		files:   make(chan []string),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
		log:     log,
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn().Err(err).Msg("file changes can't be watched (see fs.inotify.max_user_instances); SIGHUP reloads")
		close(w.ended)
		return w
	}
	w.events = events
	w.changed = make(chan struct{}, 1)
	w.watch(files)
	content := contents(files)
	go w.run(files, content)
	return w
}

// follow makes files the ones that are watched.
func (w *watcher) follow(files []string) {
	select {
	case w.files <- files:
	case <-w.ended:
	}
}

func (w *watcher) close() {
	close(w.closing)
	<-w.ended
}

func (w *watcher) run(files []string, content map[string]digest) {
	defer close(w.ended)
	defer func() { _ = w.events.Close() }()
	var settled <-chan time.Time
	for {
		select {
		case <-w.closing:
			return
		case files = <-w.files:
			w.watch(files)
			now := contents(files)
			for f := range now {
				if old, known := content[f]; known {
					now[f] = old // a change since must still count as one
				} else {
					// It was loaded before it was watched, and may have
					// changed between.
					w.notify()
				}
			}
			content = now
		case err := <-w.events.Errors:
			// Events were lost; look.
			w.log.Warn().Err(err).Msg("watching files")
			settled = time.After(0)
		case <-w.events.Events:
			// Not put off by later events: a busy directory must not keep a
			// change from being seen.
			if settled == nil {
				settled = time.After(debounce)
			}
		case <-settled:
			settled = nil
			w.watch(files) // before looking, so that nothing is missed between
			now := contents(files)
			if !maps.Equal(now, content) {
				content = now
				w.notify()
			}
		}
	}
}

func (w *watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default: // said already
	}
}

// watch asks for the events of all places that a change of files can show at.
// Places that are watched already are asked for again: what is at their path
// may be another directory or file by now.
func (w *watcher) watch(files []string) {
	wanted := map[string]bool{}
	for _, f := range files {
		for _, place := range places(f) {
			wanted[place] = true
		}
	}
	for _, place := range w.events.WatchList() {
		if !wanted[place] {
			_ = w.events.Remove(place) // gone already, if it fails
		}
	}
	for place := range wanted {
		if err := w.events.Add(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.log.Warn().Err(err).Str("path", place).Msg("changes there can't be watched; SIGHUP reloads")
		}
	}
}

// places returns where to look for changes of file: its directory, or while
// there is none the nearest one above; and for what the file, if it is a
// symlink, leads to, that directory and the file itself. A single file mounted
// into a container shows its changes nowhere else.
func places(file string) []string {
	dir := filepath.Dir(file)
	for !isDir(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return []string{dir}
	}
	return []string{dir, filepath.Dir(target), target}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// digest identifies the content of a file; the zero digest is a file that
// can't be read.
type digest [sha256.Size]byte

func contents(files []string) map[string]digest {
	m := map[string]digest{}
	for _, f := range files {
		m[f] = content(f)
	}
	return m
}

func content(file string) digest {
	// Anything but a regular file might be endless, or never open.
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return digest{}
	}
	f, err := os.Open(file)
	if err != nil {
		return digest{}
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return digest{}
	}
	return digest(hash.Sum(nil))
}
