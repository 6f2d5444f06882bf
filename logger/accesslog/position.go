package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Position is a place in the log: a file, whatever its name is by now, and
// the byte after the last line that was read. The zero Position is none.
type Position struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
	// Last is the size in bytes of the last line that was read, with its
	// newline, and Sum its CRC-32; 0 when none was. They tell the file from
	// another that was given its inode since, as happens after each start where
	// the log is in memory.
	Last int64  `json:"last,omitempty"`
	Sum  uint32 `json:"sum,omitempty"`
}

// in says whether the place is in the file, and the line before it is the one
// that was read.
func (p Position) in(file logFile) bool {
	if p.Inode != file.inode || p.Offset < p.Last || p.Last < 0 || p.Last > maxLine {
		return false
	}
	f, err := os.Open(file.name)
	if err != nil {
		return false
	}
	defer f.Close()
	last := make([]byte, p.Last)
	if _, err := f.ReadAt(last, p.Offset-p.Last); err != nil {
		return false
	}
	return crc32.ChecksumIEEE(last) == p.Sum
}

// loadPosition returns the zero position when there is none that can be read:
// the log is then read from its start, which is harmless.
func loadPosition(file string) Position {
	var p Position
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Offset < 0 {
		return Position{}
	}
	return p
}

func (p Position) save(file string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, b, 0o660); err != nil {
		return fmt.Errorf("keep the place in the access log: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("keep the place in the access log: %w", err)
	}
	return nil
}

// logFile is what a name of the log meant when it was looked at.
type logFile struct {
	name    string
	inode   uint64
	changed time.Time
}

// maxRotated is the highest number a rotated file is looked for at; dates are
// higher.
const maxRotated = 9999

// logFiles returns the log at path and its rotated files, oldest first. Files
// are renamed meanwhile, but only upwards: looked at from the newest on and
// without leaving a number out, none slips through.
func logFiles(path string) ([]logFile, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	highest := 0
	for _, e := range entries {
		if suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); ok {
			if n, err := strconv.Atoi(suffix); err == nil && n <= maxRotated {
				highest = max(highest, n)
			}
		}
	}
	var files []logFile
	for n := range highest + 10 { // as many rotations may happen meanwhile
		name := rotated(path, n)
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		again := func(f logFile) bool { return f.inode == inode(info) }
		if !slices.ContainsFunc(files, again) {
			files = append(files, logFile{name, inode(info), info.ModTime()})
		}
	}
	slices.Reverse(files)
	return files, nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
