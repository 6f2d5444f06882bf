package harness

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proc is a process as /proc shows it.
type Proc struct {
	Pid, Parent int
	// Cmdline is what ps prints: the arguments with blanks between them.
	Cmdline string
}

// Procs lists every process of the machine.
func Procs() []Proc {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []Proc
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		// pid (comm) state ppid ...; comm may hold anything, ")" included.
		after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		var state string
		var parent int
		if _, err := fmt.Sscan(after, &state, &parent); err != nil || state == "Z" {
			continue
		}
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, Proc{
			Pid: pid, Parent: parent,
			Cmdline: strings.TrimSuffix(strings.ReplaceAll(string(args), "\x00", " "), " "),
		})
	}
	return found
}

// Children are the running processes that the appliance's supervisor started,
// by what ps prints of them.
func (a *Appliance) Children() map[string]int {
	found := map[string]int{}
	for _, p := range Procs() {
		if p.Parent == a.Pid() {
			found[p.Cmdline] = p.Pid
		}
	}
	return found
}

// Child waits for the child that ps shows with this command line and returns
// its process id.
func (a *Appliance) Child(t testing.TB, cmdline string) int {
	t.Helper()
	pid := 0
	Eventually(t, func() bool {
		pid = a.Children()[cmdline]
		return pid != 0
	}, "a process %q", cmdline)
	return pid
}

// Alive says whether a process runs.
func Alive(pid int) bool {
	for _, p := range Procs() {
		if p.Pid == pid {
			return true
		}
	}
	return false
}

// CPU is the processor time that a process has used so far (proc(5), stat; the
// unit is a hundredth of a second on every Linux).
func CPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		require.NoError(t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// MemoryHas says whether a string is in the memory of a process.
func MemoryHas(t testing.TB, pid int, text string) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer func() { _ = memory.Close() }()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		content, _ := io.ReadAll(io.NewSectionReader(memory, from, to-from)) // parts may have gone meanwhile
		if bytes.Contains(content, []byte(text)) {
			return true
		}
	}
	return false
}

// PeakMemory is the most that a process ever had resident, in bytes (proc(5),
// VmHWM).
func PeakMemory(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	require.FailNow(t, "no VmHWM", "%s", status)
	return 0
}
