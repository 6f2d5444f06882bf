package tally

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"registrycache/logger/accesslog"
)

// keepEvery is how often the file is written while records come.
const keepEvery = 30 * time.Second

// Open goes on with what the file has, and says up to which place in the log
// that counts. It begins anew where there is no file, or none of a Tally: that
// is moved aside and reported, as nobody should lack a cache for its numbers.
func Open(o Options) (*Tally, accesslog.Position) {
	t := empty(o)
	raw, err := read(o.File)
	if err == nil {
		err = t.decode(raw)
	}
	if err == nil {
		return t, t.place
	}
	t.dirty = true // the first file names the place where counting began
	if !errors.Is(err, fs.ErrNotExist) {
		event := o.Log.Warn().Err(err).Str("file", o.File)
		aside := o.File + ".damaged"
		if err := os.Rename(o.File, aside); err != nil {
			event.AnErr("not_moved", err)
		} else {
			event.Str("moved_to", aside)
		}
		event.Msg("what clients pulled so far can't be read; it is counted anew from now on")
	}
	return t, accesslog.Position{}
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	return raw, err
}

// At says that all records before a place in the log were counted, and none
// after it, and writes that down with what was counted, now and then.
func (t *Tally) At(place accesslog.Position) {
	t.place = place
	if t.dirty && time.Since(t.tried) >= keepEvery {
		t.keep()
	}
}

// Close writes the file.
func (t *Tally) Close() {
	if t.dirty || t.place != t.kept {
		t.keep()
	}
}

// keep writes the file. A failure is reported once until it works again.
func (t *Tally) keep() {
	t.tried = time.Now()
	t.mu.Lock()
	t.forgetIdle(t.tried.Unix())
	raw, err := t.encode()
	t.mu.Unlock()
	if err == nil {
		err = write(t.o.File, raw)
	}
	if err != nil {
		if !t.fails {
			t.o.Log.Warn().Err(err).Msg("what clients pulled can't be kept across restarts, it is counted all the same")
		}
		t.fails = true
		return
	}
	t.dirty, t.kept, t.fails = false, t.place, false
}

// write replaces a file so that after a kill or power loss there is the new or
// the old one. Nobody else writes it, so that one name does for what a kill
// leaves.
func write(file string, raw []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o775); err != nil {
		return err
	}
	temp := file + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o664)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems can't sync a directory.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
