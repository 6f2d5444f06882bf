package accesslog

import "os"

// enter opens the file that From names, or the saved position, or else the
// oldest, and says whether there is any.
func (f *Follower) enter() (found bool, err error) {
	files, err := logFiles(f.path)
	if err != nil || len(files) == 0 {
		return false, err
	}
	for _, file := range files {
		if f.opt.From.in(file) {
			_, err := f.open(file, f.opt.From)
			return true, err
		}
	}
	for _, file := range files {
		if file.inode == f.saved.Inode {
			_, err := f.open(file, f.saved)
			return true, err
		}
	}
	opened, err := f.open(files[0], Position{})
	if opened && f.saved != (Position{}) {
		f.gaps.Add(1)
	}
	return true, err
}

// next goes on with the file that was begun after this one, and says whether
// there is any. If there is not, the file that was left stays open.
func (f *Follower) next() (found bool, err error) {
	files, err := logFiles(f.path)
	if err != nil || len(files) == 0 {
		return false, err
	}
	for i, file := range files {
		if file.inode != f.place.Inode {
			continue
		}
		if i+1 == len(files) {
			return false, nil // rotated, and its successor is not here yet
		}
		_, err := f.open(files[i+1], Position{})
		return true, err
	}
	// This one was moved elsewhere or removed: what was written after it is
	// what was not read.
	left, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	newest := len(files) - 1
	for i, file := range files {
		if i == newest || file.changed.After(left.ModTime()) {
			_, err = f.open(file, Position{})
			break
		}
	}
	return true, err
}

// open goes over to another file, unless its name means another one by now:
// then the next look finds it.
func (f *Follower) open(want logFile, at Position) (opened bool, err error) {
	file, err := os.Open(want.name)
	if err != nil {
		return false, ignoreNotExist(err)
	}
	info, err := file.Stat()
	if err != nil || inode(info) != want.inode {
		_ = file.Close()
		return false, err
	}
	f.leave()
	at.Inode = want.inode
	f.file, f.place = file, at
	return true, nil
}

func (f *Follower) leave() {
	if f.file != nil {
		_ = f.file.Close()
	}
	f.file, f.midline = nil, false
}
