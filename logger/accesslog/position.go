package accesslog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// position is a place in the log: a file, whatever its name is by now, and
// the byte after the last line that was read.
type position struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
}

// loadPosition returns the zero position when there is none that can be read:
// the log is then read from its start, which is harmless.
func loadPosition(file string) position {
	var p position
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Offset < 0 {
		return position{}
	}
	return p
}

func (p position) save(file string) error {
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

// logFiles returns the log at path and its rotated files, oldest first.
func logFiles(path string) ([]os.FileInfo, []string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	base := filepath.Base(path)
	var numbers []int
	for _, e := range entries {
		if suffix, ok := strings.CutPrefix(e.Name(), base+"."); ok {
			if n, err := strconv.Atoi(suffix); err == nil && n > 0 && strconv.Itoa(n) == suffix {
				numbers = append(numbers, n)
			}
		}
	}
	numbers = append(numbers, 0)
	slices.Sort(numbers)
	slices.Reverse(numbers)
	var infos []os.FileInfo
	var names []string
	for _, n := range numbers {
		name := rotated(path, n)
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			infos, names = append(infos, info), append(names, name)
		}
	}
	return infos, names, nil
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
